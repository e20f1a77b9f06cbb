#pragma once

#include <exception>
#include <functional>

#include "comm/communicator.h"

namespace wan::parallel {

/// Runs `work` on every rank and lets all ranks of the group fail together. If it threw an ItemError on some
/// ranks, every rank throws the ItemError of the lowest one. Collective. Other exceptions pass through at
/// once. `work` must not contain collectives.
void agree(comm::Communicator& group, const std::function<void()>& work);

/// Runs `work` on rank `root` alone. The other ranks wait without the group's timeout, because reading and
/// writing files may take any time. Every rank throws the ItemError, MemoryError or StorageError of `root`,
/// or a MemoryError with `stage` if the host's memory ran out. Collective. Other exceptions pass through at
/// once. `work` must not contain collectives.
void agree_on_root(comm::Communicator& group, int root, const char* stage, const std::function<void()>& work);

/// The same for earlier work: `kept` is its ItemError, or null.
void agree(comm::Communicator& group, const std::exception_ptr& kept);

}  // namespace wan::parallel
