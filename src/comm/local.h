#pragma once

#include <memory>
#include <string>

#include "comm/communicator.h"

namespace wan::comm {

/// A group of one rank, without MPI. Every ticket is complete at once.
std::unique_ptr<Communicator> make_local(std::string name);

}  // namespace wan::comm
