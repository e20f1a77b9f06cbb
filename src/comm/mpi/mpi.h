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
  /// Longest that one wait() may take, in seconds. Then it throws Error naming rank, group, operation,
  /// number, bytes and time, and what the other ranks report of themselves.
  double timeout_s = 120;
  /// Largest count handed to MPI in one call; what is longer goes as a derived datatype. Tests lower it.
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

/// The sub-group of `parent` that this rank belongs to: `members` are ranks of `parent`, in the order of the
/// new ranks, and include this one. Every rank of `parent` takes part, all ranks of one sub-group with the
/// same list. `parent` must come from make_mpi_world() or make_mpi_group(). Throws Error, also if the ranks
/// do not arrive within the timeout of `parent` or disagree about the members.
std::unique_ptr<Communicator> make_mpi_group(Communicator& parent, std::span<const int> members,
                                             std::string name, const MpiOptions& options = {});

}  // namespace wan::comm
