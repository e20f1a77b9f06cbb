#pragma once

#include <c10/util/Exception.h>

#include <cstdint>
#include <utility>

#include "comm/communicator.h"
#include "core/check.h"

namespace wan::engine {

/// Collectives of a kind that this rank has begun in a group so far.
inline std::uint64_t calls_of(const comm::Communicator& group, comm::Operation operation) {
  return group.traffic().calls[static_cast<std::size_t>(operation)];
}

/// Takes the part in the others' collectives that a rank without memory still owes them. What the rank was at
/// has been given up by then, so there is memory for this; if there is not, the run ends here, for the others
/// would wait.
template <typename Work>
void do_owed_collectives(Work&& work) {
  try {
    std::forward<Work>(work)();
  } catch (const c10::OutOfMemoryError& error) {
    fail(
        "memory ran out, and then even what the other ranks' collectives need of this one: {}; look for "
        "other "
        "programs on this GPU, and run again to go on",
        error.what_without_backtrace());
  }
}

}  // namespace wan::engine
