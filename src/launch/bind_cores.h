#pragma once

#include <string>

#include "comm/communicator.h"
#include "comm/mpi/ranks.h"

namespace wan::launch {

/// Binds this rank, with all its threads, to its share of the node's cores (divide_cores), in two cases:
/// WAN_BIND is gpu in the environment, because the batch scripts leave the division to the ranks; or WAN_BIND
/// is not set, and Open MPI bound the ranks by its own default (cpus_before_default_binding). Changes nothing
/// if the ranks of the node have different cores, because the launcher has divided them, if there are fewer
/// cores than ranks, or if Slurm lets the ranks run on cores of other jobs, too. `bus_id` is the rank's GPU;
/// empty: none. Collective. Returns a line for the log; empty if there is nothing to divide.
std::string bind_cores(comm::Communicator& world, const comm::MpiRanks& ranks, const std::string& bus_id);

}  // namespace wan::launch
