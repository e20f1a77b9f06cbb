#pragma once

#include <cuda_runtime_api.h>

namespace wan::gpu::test {

/// What the calls of the CUDA runtime that played_cuda.cpp stands in for return, from when it is set: an
/// error that lasts, as after a kernel that wrote where it must not.
void set_played_error(cudaError_t error);

}  // namespace wan::gpu::test
