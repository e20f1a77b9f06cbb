#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/mailbox.h"
#include "comm/rank_grid.h"

namespace wan::launch {

/// The control messages of a batch. Its ranks wait between items as long as the others work, so the two
/// communicators have no time limit.
struct ControlGroups {
  std::unique_ptr<comm::Communicator> meeting;  ///< all ranks, at the end
  std::unique_ptr<comm::Communicator> orders;   ///< a group's leader to its ranks
  std::unique_ptr<comm::Mailbox> mailbox;       ///< between the leaders; null where there is one group
};

/// Collective over `world`, which is cut into groups of `shape`.
ControlGroups make_control_groups(comm::Communicator& world, const comm::GridShape& shape);

/// A group of ranks of `world` for control messages. Collective, like make_mpi_group().
std::unique_ptr<comm::Communicator> make_control_group(comm::Communicator& world,
                                                       const std::vector<int>& members,
                                                       const std::string& name, double timeout_s);

}  // namespace wan::launch
