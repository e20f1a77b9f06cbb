#pragma once

#include <exception>
#include <functional>

#include "comm/communicator.h"

namespace wan::parallel {

/// Runs `work` on every rank and lets all ranks of the group fail together: if it threw an ItemError on any
/// of them, every rank throws that of the lowest rank. Collective. Other exceptions pass through at once.
/// `work` may hold no collectives.
void agree(comm::Communicator& group, const std::function<void()>& work);

/// Runs `work` on rank `root` alone while the others wait as long as it takes, without the group's timeout:
/// for reading and writing files, which may take any time. Every rank throws the ItemError, MemoryError or
/// StorageError that it threw, and a MemoryError with `stage` if the host's memory ran out. Collective; other
/// exceptions pass through at once. `work` may hold no collectives.
void agree_on_root(comm::Communicator& group, int root, const char* stage, const std::function<void()>& work);

/// The same for work that was done earlier and whose ItemError, if any, was kept.
void agree(comm::Communicator& group, const std::exception_ptr& kept);

}  // namespace wan::parallel
