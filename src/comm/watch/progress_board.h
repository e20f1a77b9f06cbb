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

/// A call, described by what all ranks of its group agree on.
struct CallMark {
  Operation operation = Operation::barrier;
  std::uint64_t number = 0;

  bool operator==(const CallMark&) const = default;
  std::string describe() const;  ///< "all_to_all number 41"
};

/// How far a rank has come in the calls on one group.
struct GroupProgress {
  std::string group;                ///< the group's name, cut to the length that the board holds
  std::uint64_t key = 0;            ///< the same on all ranks of the group
  std::optional<CallMark> started;  ///< the last call that the host thread issued
  /// the last call whose turn has come on the device: all earlier work is done
  std::optional<CallMark> reached;
  std::optional<CallMark> finished;
};

/// A rank of this node and its groups.
struct RankProgress {
  int world_rank = 0;
  std::int64_t pid = 0;
  bool gone = false;  ///< the process no longer exists
  std::vector<GroupProgress> groups;
};

/// Whether no process has this id.
bool process_is_gone(std::int64_t pid);

struct BoardRank;   // a rank's record in the shared memory
struct BoardGroup;  // a group's record in the shared memory

/// How far every rank of a node has come, in memory that the ranks share. Others can read it when the rank
/// itself hangs or has died, which MPI messages cannot tell. It is a POSIX shared memory segment. Its name is
/// removed once all ranks have opened it, so nothing is left behind, however the job ends.
class ProgressBoard {
 public:
  static constexpr int max_groups = 32;  ///< most groups that one rank is in at a time

  /// A group of this process on the board, until it is destroyed. Each call costs a handful of relaxed
  /// stores.
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

  /// Adds a group. The board must outlive the row. `key` must not be 0. Throws Error if all rows of this rank
  /// are in use.
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
