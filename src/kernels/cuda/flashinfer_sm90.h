#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/attention_call.h"

namespace wan::kernels::cuda {

/// FlashInfer's prefill kernel for compute capability 9.0. Returns the error of the launch. Throws
/// FlashInfer's exception (std::exception) if the kernel cannot be set up.
cudaError_t launch_flashinfer_sm90(const AttentionCall& call, cudaStream_t stream);

}  // namespace wan::kernels::cuda
