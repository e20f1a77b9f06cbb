#pragma once

#include "apps/run_device.h"
#include "apps/run_layout.h"
#include "comm/communicator.h"
#include "comm/mpi_environment.h"
#include "parallel/layout.h"

namespace wan::apps {

/// All communicators of this rank's group. On the CPU all of them are MPI's, on GPUs those that carry tensors
/// are NCCL's. `timeout_s`: the longest that a collective inside a request may take. Collective over `world`.
/// Throws UsageError if NCCL cannot be initialised.
parallel::GroupCommunicators make_group_communicators(comm::Communicator& world, const RunLayout& layout,
                                                      const RunDevice& device, double timeout_s);

/// A group of MPI ranks for control messages, or this rank alone.
std::unique_ptr<comm::Communicator> make_control_group(comm::Communicator& world,
                                                       const std::vector<int>& members,
                                                       const std::string& name, double timeout_s);

}  // namespace wan::apps
