#pragma once

#include <cstddef>
#include <memory>

#include "comm/nccl_group.h"

namespace wan::comm {

/// Device memory registered with the group as a symmetric window. Collective. Null if this system cannot do
/// that: collectives then take their ordinary way. Throws Error if there is no memory left.
std::shared_ptr<std::byte> allocate_window(std::shared_ptr<NcclGroup> group, std::size_t bytes);

}  // namespace wan::comm
