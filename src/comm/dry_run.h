#pragma once

#include <memory>
#include <string>

#include "comm/communicator.h"

namespace wan::comm {

/// Pretends to be one rank of a group that does not exist; the planner uses it. It counts traffic and copies
/// what a rank sends to itself. The other ranks' parts of receive buffers stay as they are. Every ticket is
/// complete at once. all_reduce and broadcast leave their buffer unchanged.
std::unique_ptr<Communicator> make_dry_run(std::string name, int rank, int size);

}  // namespace wan::comm
