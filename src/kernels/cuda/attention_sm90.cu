#include "kernels/cuda/attention_sm90.h"
#include "kernels/cuda/attention_sm90_launch.cuh"

namespace wan::kernels::cuda {

cudaError_t launch_attention_sm90(const AttentionCall& call, cudaStream_t stream) {
  // Few keys leave few tiles to a row. Tiles of 128 keys fit a text's 512, and leave room to load queries
  // ahead.
  constexpr int few_keys = 1024;
  if (call.keys < few_keys || call.last_repeats > 1) {
    return sm90::launch<sm90::Shape<128, 2, 3, true, true>>(call, stream);
  }
  return sm90::launch<sm90::Shape<144, 2, 2, true, false>>(call, stream);
}

}  // namespace wan::kernels::cuda
