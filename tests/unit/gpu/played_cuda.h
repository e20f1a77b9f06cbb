#pragma once

#include <cuda_runtime_api.h>

namespace wan::gpu::test {

/// From now on, the calls of the CUDA runtime that played_cuda.cpp replaces return `error`. It imitates an
/// error that lasts, as after a kernel's write to a forbidden address.
void set_played_error(cudaError_t error);

}  // namespace wan::gpu::test
