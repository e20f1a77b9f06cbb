#include "kernels/cuda/convolution_sm90.cuh"

namespace wan::kernels::cuda {

const void* convolution_bf16(int channels) { return convolution_of<__nv_bfloat16>(channels); }

}  // namespace wan::kernels::cuda
