#include "kernels/cuda/convolution_sm90.h"
#include "kernels/cuda/row.cuh"

namespace wan::kernels::cuda {
namespace {

constexpr int threads = 256;

/// One thread makes one output channel of one pixel. The order of the sum is that of the taps.
template <typename Out>
__global__ void __launch_bounds__(threads) sum_taps(const TapSumsCall call) {
  const Activation& out = call.out;
  const int segments = (out.columns * out.channels + threads - 1) / threads;
  const int block = static_cast<int>(blockIdx.x);
  const int place = block % segments * threads + static_cast<int>(threadIdx.x);
  const int row = block / segments % out.rows;
  const int frame = block / segments / out.rows;
  const int column = place / out.channels;
  const int channel = place % out.channels;
  if (column >= out.columns) return;
  const Activation& taps = call.taps;
  const float* const frame_of_taps = static_cast<const float*>(taps.data) + frame * taps.frame_stride;
  float sum = call.bias[channel];
  for (int r = 0; r < call.kernel.rows; ++r) {
    for (int c = 0; c < call.kernel.columns; ++c) {
      const int y = row + r - call.before.rows;
      const int x = column + c - call.before.columns;
      if (y < 0 || x < 0 || y >= taps.rows || x >= taps.columns) continue;
      const int tap = r * call.kernel.columns + c;
      sum += frame_of_taps[y * taps.row_stride + x * taps.column_stride + tap * out.channels + channel];
    }
  }
  Out* const to = static_cast<Out*>(const_cast<void*>(out.data));
  to[frame * out.frame_stride + row * out.row_stride + column * out.column_stride + channel] =
      narrow<Out>(sum);
}

}  // namespace

cudaError_t launch_tap_sums(const TapSumsCall& call, cudaStream_t stream) {
  const Activation& out = call.out;
  const int segments = (out.columns * out.channels + threads - 1) / threads;
  return with_type(call.type, [&](auto type) {
    using Out = typename decltype(type)::type;
    sum_taps<Out><<<segments * out.rows * out.frames, threads, 0, stream>>>(call);
    return cudaGetLastError();
  });
}

}  // namespace wan::kernels::cuda
