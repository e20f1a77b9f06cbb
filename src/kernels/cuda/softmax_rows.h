#pragma once

#include "kernels/cuda/launch.h"

namespace wan::kernels::cuda {

/// softmax(scale * scores) of each row. fp32: into scores, and its rests beyond TF32 into out. Otherwise into
/// out, rounded to the type.
struct SoftmaxRows {
  float* scores = nullptr;       ///< [rows, length]
  void* out = nullptr;           ///< [rows, length]
  Element type = Element::fp32;  ///< of out
  std::int64_t rows = 0;
  int length = 0;  ///< a multiple of 4, at most max_softmax_row
  float scale = 1;
};
constexpr int max_softmax_row = 56000;  ///< in shared memory
cudaError_t launch_softmax_rows(const SoftmaxRows& rows, cudaStream_t stream);

/// rests = x - x rounded to TF32. `count`: a multiple of 4.
cudaError_t launch_tf32_rests(const float* x, float* rests, std::int64_t count, cudaStream_t stream);

}  // namespace wan::kernels::cuda
