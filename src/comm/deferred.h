#pragma once

#include <memory>

#include "comm/communicator.h"

namespace wan::comm {

/// A test backend that makes ordering bugs visible on a CPU, where MPI would move data early. Around any
/// other backend:
/// - data move at the ticket's wait, not before; receive buffers hold 0xFF bytes (NaN as float or half) until
///   then, save for the rank's own slice of an all_gather in place;
/// - send buffers are read at the wait, so that one reused too soon sends what it was overwritten with;
/// - values of an all_reduce are set aside and hold 0xFF bytes until the wait; elements overwritten in
///   between go into the sum as overwritten.
/// Waiting for a ticket first carries out every earlier call on the group, in the order of issue: ranks may
/// wait in different orders within one group. Between groups they must wait in one order.
std::unique_ptr<Communicator> make_deferred(std::unique_ptr<Communicator> inner);

}  // namespace wan::comm
