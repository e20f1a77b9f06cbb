#pragma once

#include <memory>

#include "comm/communicator.h"

namespace wan::comm {

/// A test backend that shows ordering bugs on a CPU, where MPI would move data too early. It wraps any other
/// backend:
/// - Data move at the ticket's wait, not before. Until then receive buffers hold 0xFF bytes (NaN as float or
///   half), except the rank's own slice of an all_gather in place.
/// - Send buffers are read at the wait. If the caller overwrites one too early, the new content is sent.
/// - Values of an all_reduce are copied and replaced by 0xFF bytes until the wait. If the caller overwrites
///   elements in between, their new values go into the sum.
/// Waiting for a ticket first carries out every earlier call on the group, in the order of issue. So ranks
/// may wait in different orders within one group. Across groups they must wait in one order.
std::unique_ptr<Communicator> make_deferred(std::unique_ptr<Communicator> inner);

}  // namespace wan::comm
