#pragma once

#include <mpi.h>

#include <string>

namespace wan::comm {

/// The ranks of one communicator, and this process's place among them. Starts and ends nothing.
class MpiRanks {
 public:
  /// This process alone, without MPI.
  MpiRanks();

  /// The ranks of `comm`, which must outlive this object; its owner frees it. Collective over `comm`. Throws
  /// Error unless MPI is initialised with MPI_THREAD_FUNNELED or more and not finalised, and `comm` is an
  /// intra-communicator.
  explicit MpiRanks(MPI_Comm comm);

  bool uses_mpi() const { return comm_ != MPI_COMM_NULL; }
  MPI_Comm comm() const { return comm_; }

  int rank() const { return rank_; }
  int size() const { return size_; }
  int world_rank() const { return world_rank_; }  ///< in MPI_COMM_WORLD, as messages name it
  const std::string& host_name() const { return host_name_; }
  int local_rank() const { return local_rank_; }  ///< among the ranks of this node, from 0
  int local_size() const { return local_size_; }  ///< ranks on this node
  int node() const { return node_; }              ///< the lowest rank of this node, which identifies the node

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  int world_rank_ = 0;
  std::string host_name_;
  int local_rank_ = 0;
  int local_size_ = 1;
  int node_ = 0;
};

}  // namespace wan::comm
