#pragma once

#include <cstddef>
#include <limits>
#include <memory>
#include <span>
#include <string>

#include "comm/communicator.h"
#include "comm/mpi/environment.h"
#include "comm/mpi/ranks.h"

namespace wan::comm {

struct MpiOptions {
  /// The longest time that one wait() may take, in seconds. After it, wait() throws Error. The error names
  /// rank, group, operation, number, bytes and time, and gives the other ranks' reports about themselves.
  double timeout_s = 120;
  /// The largest count that one MPI call gets. A longer buffer is sent as a derived datatype. Tests lower
  /// this value.
  std::size_t largest_count = std::numeric_limits<int>::max();
};

/// All of `ranks`, as group "world". Collective over them. Buffers are host memory. Without MPI this
/// process alone.
///
/// Calls map to MPI's non-blocking collectives; wait() polls with a back-off. An all_reduce gathers every
/// rank's values and combines them in rank order on each rank: MPI does not promise the same bits on all
/// ranks otherwise. It is for small arrays: it takes size() times their memory.
///
/// The communicator must not outlive MPI. Throws Error.
std::unique_ptr<Communicator> make_mpi_world(const MpiRanks& ranks, const MpiOptions& options = {});

/// Makes the sub-group of `parent` that contains this rank. `members` are ranks of `parent`, this one
/// included, in the order of the new ranks. Every rank of `parent` must call it, and all ranks of one
/// sub-group must pass the same list. `parent` must come from make_mpi_world() or make_mpi_group(). Throws
/// Error, also if the ranks do not arrive within the timeout of `parent` or disagree about the members.
std::unique_ptr<Communicator> make_mpi_group(Communicator& parent, std::span<const int> members,
                                             std::string name, const MpiOptions& options = {});

}  // namespace wan::comm
