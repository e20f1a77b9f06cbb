#pragma once

#include <mpi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "comm/mpi/mpi.h"
#include "comm/mpi/support.h"
#include "comm/watch/call_record.h"

namespace wan::comm {

/// What a communicator and its collectives under way share.
class MpiGroup {
 public:
  MpiGroup(CommHandle comm, std::string name, const MpiOptions& options);
  MpiGroup(const MpiGroup&) = delete;
  MpiGroup& operator=(const MpiGroup&) = delete;
  MpiGroup(MpiGroup&&) = delete;
  MpiGroup& operator=(MpiGroup&&) = delete;
  /// Frees the communicator, or leaks it on purpose if the group was abandoned.
  ~MpiGroup();

  MPI_Comm comm() const { return comm_.get(); }
  int rank() const { return rank_; }
  int size() const { return size_; }
  const std::string& name() const { return name_; }
  const MpiOptions& options() const { return options_; }
  const std::vector<int>& world_ranks() const { return world_ranks_; }

  /// "rank 1 of 4 in group 'cfg' (world rank 5)"
  std::string describe_rank() const;

  /// Number of the next call on the group; the same on every rank. Throws Error if the group was abandoned.
  std::uint64_t next_number();
  /// Message tag of an exchange: keeps calls apart whose ranks disagree about which messages are empty.
  int tag_of(std::uint64_t number) const;

  /// The group has lost a collective and cannot be used any more. MPI may still write to `buffer`: it is kept
  /// to the end of the process.
  void abandon(std::vector<std::byte> buffer) noexcept;

  /// For a rank that gives up: tells the other ranks in which call, listens for theirs for `listen_s` seconds
  /// and says in words what is known of each. Abandons the group.
  std::string exchange_reports(const CallRecord& call, double listen_s);

 private:
  std::vector<std::string> receive_reports(double listen_s);

  CommHandle comm_;
  std::string name_;
  MpiOptions options_;
  int rank_ = 0;
  int size_ = 1;
  int report_tag_ = 0;  ///< the largest there is; exchanges use those below
  std::vector<int> world_ranks_;
  std::uint64_t next_number_ = 0;
  bool abandoned_ = false;
};

}  // namespace wan::comm
