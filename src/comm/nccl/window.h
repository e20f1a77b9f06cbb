#pragma once

#include <cstddef>
#include <memory>

#include "comm/nccl/group.h"

namespace wan::comm {

/// Device memory registered with the group as a symmetric window. Collective. Null on all ranks if this
/// system cannot do that or a rank has too little memory left: collectives then take their ordinary way.
/// Throws Error on all ranks alike, within the group's timeout, if registering fails or hangs on some ranks
/// only; the group can then no longer be used.
std::shared_ptr<std::byte> allocate_window(const std::shared_ptr<NcclGroup>& group, std::size_t bytes);

}  // namespace wan::comm
