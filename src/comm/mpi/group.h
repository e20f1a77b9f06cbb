#pragma once

#include <mpi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "comm/mpi/mpi.h"
#include "comm/mpi/support.h"
#include "comm/watch/call_record.h"

namespace wan::comm {

/// The state that a communicator shares with its collectives in progress.
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

  /// Number of the next call on the group, the same on every rank. Throws Error if the group was abandoned.
  std::uint64_t next_number();
  /// Message tag of an exchange. It keeps two calls apart if the ranks disagree about which messages are
  /// empty.
  int tag_of(std::uint64_t number) const;

  /// Marks the group as unusable, because it has lost a collective. MPI may still write to `buffer`, so the
  /// process keeps it until its end.
  void abandon(std::vector<std::byte> buffer) noexcept;

  /// For a rank that gives up. Tells the other ranks in which call it is, listens for their reports for
  /// `listen_s` seconds, and describes in words what each reported. Abandons the group.
  std::string exchange_reports(const CallRecord& call, double listen_s);

 private:
  std::vector<std::string> receive_reports(double listen_s);

  CommHandle comm_;
  std::string name_;
  MpiOptions options_;
  int rank_ = 0;
  int size_ = 1;
  int report_tag_ = 0;  ///< the largest tag; exchanges use the tags below it
  std::vector<int> world_ranks_;
  std::uint64_t next_number_ = 0;
  bool abandoned_ = false;
};

}  // namespace wan::comm
