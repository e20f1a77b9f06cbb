#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "comm/communicator.h"
#include "comm/mpi/ranks.h"

namespace wan::comm {

/// A call by what all ranks of its group agree on.
struct CallMark {
  Operation operation = Operation::barrier;
  std::uint64_t number = 0;

  bool operator==(const CallMark&) const = default;
  std::string describe() const;  ///< "all_to_all number 41"
};

/// How far a rank has come on one group.
struct GroupProgress {
  std::string group;                ///< its name, cut to what the board holds
  std::uint64_t key = 0;            ///< the same on all ranks of the group
  std::optional<CallMark> started;  ///< issued by the host thread
  std::optional<CallMark> reached;  ///< the device has done what comes before it
  std::optional<CallMark> finished;
};

/// A rank of this node and its groups.
struct RankProgress {
  int world_rank = 0;
  std::int64_t pid = 0;
  bool gone = false;  ///< there is no such process any more
  std::vector<GroupProgress> groups;
};

/// Whether no process has this id.
bool process_is_gone(std::int64_t pid);

struct BoardRank;   // of the shared memory
struct BoardGroup;  // of the shared memory

/// How far every rank of a node has come, in memory that they share: it can be read when the rank itself
/// hangs or has died, which MPI messages cannot tell. A POSIX shared memory segment; its name is gone as soon
/// as all have opened it, so that nothing is left behind however the job ends.
class ProgressBoard {
 public:
  static constexpr int max_groups = 32;  ///< that one rank is in at a time

  /// A group of this process on the board, until it is destroyed. A handful of relaxed stores per call.
  class Row {
   public:
    Row(Row&& other) noexcept;
    Row& operator=(Row&&) = delete;
    Row(const Row&) = delete;
    Row& operator=(const Row&) = delete;
    ~Row();

    void started(const CallMark& call);
    void reached(const CallMark& call);
    void finished(const CallMark& call);

   private:
    friend class ProgressBoard;
    explicit Row(BoardGroup& group) : group_(&group) {}
    BoardGroup* group_;
  };

  /// Collective over `world`, the communicator of `ranks`. Throws Error on every rank if one of them cannot
  /// make or open its node's segment.
  ProgressBoard(const MpiRanks& ranks, Communicator& world);
  ProgressBoard(const ProgressBoard&) = delete;
  ProgressBoard& operator=(const ProgressBoard&) = delete;
  ~ProgressBoard();

  /// The board must outlive the row. `key` is not 0. Throws Error when this rank's rows are all in use.
  Row open(std::string_view group, std::uint64_t key);

  /// Every rank of this node, this one included, in the order of their world ranks.
  std::vector<RankProgress> ranks() const;

 private:
  class Mapping;

  BoardRank& rank_at(int local_rank) const;

  int local_rank_;
  int local_size_;
  std::unique_ptr<Mapping> mapping_;
};

}  // namespace wan::comm
