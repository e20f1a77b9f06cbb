#include "kernels/cuda/convolution_sm90.cuh"

namespace wan::kernels::cuda {

const void* convolution_fp32(int channels) { return convolution_of<float>(channels); }

}  // namespace wan::kernels::cuda
