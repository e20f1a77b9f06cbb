#pragma once

#include "kernels/cuda/convolution_sm90.h"

namespace wan::kernels::cuda {

/// As launch_rms_norm_silu(), with a result in fp32 whatever the type of x is.
cudaError_t launch_wide_rms_norm_silu(const PixelNormCall& call, cudaStream_t stream);

}  // namespace wan::kernels::cuda
