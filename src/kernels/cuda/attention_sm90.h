#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/attention_call.h"

namespace wan::kernels::cuda {

/// Our own attention kernel for compute capability 9.0. All addresses and strides must be multiples of 16
/// bytes. A row of the result depends on its own query and on the keys and values alone: its bits are the
/// same in every call. Returns the error of the launch.
cudaError_t launch_attention_sm90(const AttentionCall& call, cudaStream_t stream);

}  // namespace wan::kernels::cuda
