#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace wan::store {

// Claims tell which group works on which item, for every group of every job that shares an output folder.
// They use link(), unlink() and reads only, without a rename. So they hold on shared file systems, without
// locks or a server.
//
// The leader of each group has one owner file. It holds a heartbeat counter that a thread increments, a line
// that names the owner, and two lines of fixed width: the owner's progress, and its request (request_mark()).
// To claim an item, a leader links its owner file as `<id>.claim`; only one of many can do that. If an owner
// is dead, another takes the item over by linking `<id>.claim.1` and so on: the highest link owns the item,
// and again only one can make it. (A rename over the dead claim would let a slow second taker rename over the
// living claim of the first.) An owner that was only suspended sees the higher link and gives up.

/// The holder of a claim.
struct ClaimOwner {
  std::string host;
  std::int64_t pid = 0;
  std::string job;      ///< the scheduler's job id; may be empty
  std::string run;      ///< run id, the same on all groups of one job
  std::string machine;  ///< boot id and process namespace, in which `pid` has a meaning
  std::string token;    ///< random, one per owner; it also names the owner's temporary files

  /// The calling process, with a new token.
  static ClaimOwner this_process(std::string run, std::string job);
};

/// The progress of an owner with its item, for readers outside the run.
struct ClaimProgress {
  std::string id;
  std::string phase;  ///< "denoise", "decode", ...; empty: unknown
  int step = 0;       ///< steps done
  int steps = 0;
  double step_s = 0;  ///< of the last step; 0 before the first
};

/// The owner file of a token in a folder of claims. The file exists while the owner is alive or has not been
/// found dead.
std::filesystem::path owner_file(const std::filesystem::path& claims, std::string_view token);

struct ClaimTiming {
  std::chrono::milliseconds heartbeat{5'000};
  /// An owner is dead if its heartbeat did not change for this long on the observer's steady clock.
  std::chrono::milliseconds stale_after{60'000};
};

/// An owner that died while it held a claim, as its file describes it.
struct DeadOwner {
  std::string token;
  std::string who;  ///< "node7, process 123, job 4711"
  std::string host;
  std::string job;
  std::string run;
  bool machine_is_up = false;     ///< the owner was on this machine, which has not been restarted since
  bool was_at_work = false;       ///< its progress names the item, or it was writing the item's outputs
  bool was_told_to_stop = false;  ///< see Claims::note_stop()
};

/// Names the place where process ids have a meaning: boot id and process namespace. Empty if unknown.
std::string this_machine();
/// Whether this machine no longer has such a process.
bool is_gone(std::int64_t pid);

class ClaimHeartbeat;
class Claims;
class OwnerProgress;
class OwnerWatch;

/// One claimed item. The destructor releases it. Must not outlive its Claims. Each may be used by any one
/// thread.
class Claim {
 public:
  Claim(Claim&& other) noexcept;
  Claim& operator=(Claim&&) = delete;
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  ~Claim();

  const std::string& id() const { return id_; }
  /// Tokens of the dead owners that held the item before. Their temporary files may be removed.
  std::vector<std::string> dead_tokens() const;
  const std::vector<DeadOwner>& dead_owners() const { return dead_owners_; }
  /// Returns false if another owner took this one for dead and has taken the item over. Call it before
  /// publishing.
  bool is_held() const;

 private:
  friend class Claims;
  Claim(const Claims& claims, std::string id, int generation, std::vector<DeadOwner> dead_owners);

  const Claims* claims_;
  std::string id_;
  int generation_;
  std::vector<DeadOwner> dead_owners_;
};

/// The outcome of trying to claim an item.
struct ClaimAttempt {
  enum class Outcome {
    acquired,
    alive,      ///< another owner holds it, and its heartbeat was seen to change
    undecided,  ///< another owner holds it, and nobody knows yet whether it lives: ask again later
  };
  Outcome outcome = Outcome::undecided;
  std::optional<Claim> claim;  ///< if acquired
  std::string holder;          ///< if not acquired: "node7, process 123, job 4711"
  std::string
      request;  ///< if not acquired: the request that a holder of another run says it makes; empty: unknown
  /// If not acquired: another owner of this run holds it and does not say that it works on it. It may be
  /// about to give it back.
  bool may_be_given_back = false;
};

/// One owner's view of the claims of an output folder. For one thread; the heartbeat and each Claim may have
/// their own.
class Claims {
 public:
  /// Makes the owner file and starts the heartbeat. Also removes owner files of dead processes of this
  /// machine, as the destructor does. Throws Error.
  Claims(std::filesystem::path folder, ClaimOwner owner, ClaimTiming timing);
  Claims(const Claims&) = delete;
  Claims& operator=(const Claims&) = delete;
  Claims(Claims&&) = delete;
  Claims& operator=(Claims&&) = delete;
  ~Claims();

  /// Claims an item that nobody holds or whose holder is dead. After success, the caller must look again
  /// whether the item still needs doing: its last owner may have finished it a moment before. `request`
  /// returns the text that tells others which request is made under that id, of at most 48 printable
  /// characters. It is called only if the text is needed. Throws Error.
  ClaimAttempt try_claim(const std::string& id, const std::function<std::string()>& request = {});

  /// Ids that earlier owners held when this was constructed, sorted. Claim and release once those that turn
  /// out to be done: their owner died in between, and nobody else will look at them.
  const std::vector<std::string>& held_at_start() const { return held_at_start_; }

  /// Another owner of this run that is silent for too long. Its process hangs or is suspended, and the run
  /// would wait for it for ever. Call this now and then: the first call cannot know yet.
  std::optional<std::string> find_silent_partner();

  const ClaimOwner& owner() const { return owner_; }

  /// Writes the owner's progress into its file, where others may read it. Nothing means: the owner has no
  /// item. Does not flush, and ignores failures.
  void show_progress(const std::optional<ClaimProgress>& progress) const noexcept;
  /// Writes beside the progress how many other items the owner holds because their outputs are being written.
  void show_writing(int items) const noexcept;
  /// Marks beside the progress that this owner was told to stop. If the process is killed from now on, its
  /// item is not at fault. For any thread.
  void note_stop() const noexcept;

 private:
  friend class Claim;

  std::filesystem::path link_path(const std::string& id, int generation) const;
  bool is_ours(const std::filesystem::path& link) const;
  bool make_link(const std::filesystem::path& link) const;
  int highest_generation(const std::string& id, int known) const;
  void tell(const std::function<std::string()>& request) const;
  ClaimAttempt take_over(const std::string& id, int mine, const std::string& content, int& known);
  std::vector<DeadOwner> owners_below(const std::string& id, int generation) const;
  bool is_held(const std::string& id, int generation) const;
  void release(const std::string& id, int generation) const noexcept;
  void remove_orphans() const;
  std::vector<std::string> claimed_ids() const;

  std::filesystem::path folder_;
  ClaimOwner owner_;
  std::vector<std::string> held_at_start_;
  std::unique_ptr<ClaimHeartbeat> heartbeat_;
  std::unique_ptr<OwnerWatch> watch_;
  std::unique_ptr<OwnerProgress> progress_;
};

}  // namespace wan::store
