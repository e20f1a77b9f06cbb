#include "kernels/cuda/convolution_sm90.cuh"

namespace wan::kernels::cuda {

const void* convolution_fp16(int channels) { return convolution_of<__half>(channels); }

}  // namespace wan::kernels::cuda
