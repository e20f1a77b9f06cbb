#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "comm/mpi/ranks.h"
#include "comm/watch/call_record.h"
#include "comm/watch/progress_board.h"
#include "core/clock.h"

namespace wan::comm {

/// This rank's place in a group.
struct GroupIdentity {
  std::string name;
  int rank = 0;
  std::vector<int> world_ranks;  ///< world ranks of all members, in the order of their ranks in the group
  std::uint64_t key = 0;         ///< the same on all members, different from every other group's; not 0

  int size() const { return static_cast<int>(world_ranks.size()); }
  int world_rank() const { return world_ranks[static_cast<std::size_t>(rank)]; }
  /// "rank 1 of 4 in group 'cfg' (world rank 5)"
  std::string describe_rank() const;
};

/// A group whose calls run while no host thread waits for them.
class WatchedGroup {
 public:
  struct Running {
    CallRecord call;
    double elapsed_s = 0;
  };
  struct Observation {
    /// The oldest unfinished call, if all earlier work of this rank is done. Otherwise empty.
    std::optional<Running> running;
    /// Why the group no longer works; empty if it works.
    std::string error;
  };

  virtual ~WatchedGroup() = default;
  virtual const GroupIdentity& identity() const = 0;
  /// The longest time that a call may run, in seconds.
  virtual double timeout_s() const = 0;
  /// Called from the watchdog's thread, one call at a time.
  virtual Observation observe() = 0;
};

struct WatchdogOptions {
  double poll_interval_s = 0.05;
  /// Receives the message, on the watchdog's thread. With a collective that hangs on the device, no orderly
  /// way out returns, so a program gives end_process(); a library asks its caller.
  std::function<void(const std::string& message)> end_job = {};
};

/// Prints the message to stderr and ends this process at once with exit code 1, whereupon mpirun ends the
/// others.
[[noreturn]] void end_process(const std::string& message);

/// One thread that looks at every group of this process and calls end_job when a call takes longer than its
/// group's timeout or a group fails: nobody else would, since waiting for a device collective does not block
/// the host thread. The message names the call and this rank, says of every other rank of the group how far
/// it has come (a rank that lags, whose device lags, whose process is gone), and lists how far all ranks of
/// this node are in all their groups. Ranks of other nodes tell of themselves in their own messages.
class Watchdog {
 public:
  /// Collective over `world`, the communicator of `ranks`. Throws Error.
  Watchdog(const MpiRanks& ranks, Communicator& world, WatchdogOptions options);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog();

  ProgressBoard& board() { return board_; }

  /// Observes `group` until remove() returns. A group is reported once.
  void add(WatchedGroup& group);
  void remove(WatchedGroup& group) noexcept;

 private:
  struct Entry {
    WatchedGroup* group;
    bool reported = false;
    std::uint64_t call = 0;    ///< number of the call that runs
    double away_before_s = 0;  ///< value of away_s_ when the watchdog first saw that call run
  };

  void run(const std::stop_token& stop);
  /// The messages about groups that failed since the last look.
  std::vector<std::string> look();
  /// Seconds that a call has run, without the time in which this process was suspended.
  double seen_s(Entry& entry, const WatchedGroup::Running& running) const;
  std::string report(const GroupIdentity& identity, const WatchedGroup::Observation& seen,
                     double limit_s) const;

  std::string where_;
  WatchdogOptions options_;
  ProgressBoard board_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::vector<Entry> entries_;
  Stopwatch clock_;
  double last_look_s_ = 0;
  double away_s_ = 0;    ///< seconds in which this process was suspended
  std::jthread thread_;  ///< last member: the thread uses all members above
};

/// The board's entries about the group's other ranks, as seen from a rank that is stuck in `call`: "rank 3
/// (world rank 3) lags: last started all_to_all number 41, ...".
std::string describe_peers(const GroupIdentity& identity, const CallRecord& call,
                           const std::vector<RankProgress>& node);

/// One line for each rank, with the state of each of its groups.
std::string describe_node(const std::vector<RankProgress>& node);

}  // namespace wan::comm
