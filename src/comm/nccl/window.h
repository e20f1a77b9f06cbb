#pragma once

#include <cstddef>
#include <memory>

#include "comm/nccl/group.h"

namespace wan::comm {

/// Allocates device memory that is registered with the group as a symmetric window. Collective. Returns null
/// on all ranks if this system does not support it or one rank has too little memory; collectives then take
/// the ordinary path. If registering fails or hangs on some ranks only, throws Error on all ranks, within the
/// group's timeout. The group can then no longer be used.
std::shared_ptr<std::byte> allocate_window(const std::shared_ptr<NcclGroup>& group, std::size_t bytes);

}  // namespace wan::comm
