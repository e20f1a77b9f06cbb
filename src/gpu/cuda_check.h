#pragma once

#include <cuda_runtime_api.h>

#include "core/check.h"

namespace wan::gpu {

/// Throws Error with the call, its place and the runtime's message unless `code` is cudaSuccess.
void check_cuda(cudaError_t code, const char* call, const char* file, int line);

}  // namespace wan::gpu

#define WAN_CUDA_CHECK(call) ::wan::gpu::check_cuda((call), #call, __FILE__, __LINE__)
