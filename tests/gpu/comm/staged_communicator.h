#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>

#include "comm/communicator.h"

namespace wan::comm::test {

/// Host buffers for a communicator of device buffers, so that the tests of all other backends run on it. Data
/// to send are copied to the device at the call. Received data are copied back at the wait, which blocks the
/// host. Receive buffers on the device hold 0xFF bytes before.
///
/// `make_inner` makes the communicator for the given compute stream.
std::unique_ptr<Communicator> make_staged(
    const std::function<std::unique_ptr<Communicator>(cudaStream_t compute_stream)>& make_inner);

}  // namespace wan::comm::test
