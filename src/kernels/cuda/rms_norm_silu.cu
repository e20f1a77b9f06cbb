#include <algorithm>

#include "kernels/cuda/pixel_norm.h"
#include "kernels/cuda/row.cuh"

namespace wan::kernels::cuda {
namespace {

constexpr int threads = 256;

template <typename T, typename Out>
struct NormPlan {
  const T* x;
  const float* gamma;
  Out* out;
  int rows, columns, segments;
  std::int64_t x_frame, x_row, x_column, out_frame, out_row, out_column;
  float scale;  ///< sqrt(channels)
  bool silu;
};

/// For a result that is rounded to T.
template <typename T>
__device__ float silu(float value) {
  if constexpr (sizeof(T) == 2) return __fdividef(value, 1.0F + __expf(-value));
  return value / (1.0F + expf(-value));
}

/// `Lanes` threads handle a pixel, each `Vectors` times 16 bytes. The order of the sum depends on these
/// alone.
template <typename T, typename Out, int Lanes, int Vectors>
__global__ void __launch_bounds__(threads) norm_pixels(const NormPlan<T, Out> plan) {
  constexpr int width = 16 / sizeof(T);
  constexpr int pixels = threads / Lanes;
  const int lane = static_cast<int>(threadIdx.x) % Lanes;
  const int block = static_cast<int>(blockIdx.x);
  const int column = block % plan.segments * pixels + static_cast<int>(threadIdx.x) / Lanes;
  const int row = block / plan.segments % plan.rows;
  const int frame = block / plan.segments / plan.rows;
  const bool inside = column < plan.columns;
  const int read = min(column, plan.columns - 1);  // every lane takes part in the sum
  const T* const from = plan.x + frame * plan.x_frame + row * plan.x_row + read * plan.x_column;
  Elements<T, width> values[Vectors];
  float sum = 0;
#pragma unroll
  for (int i = 0; i < Vectors; ++i)
    values[i] = Elements<T, width>::load_once(from + (i * Lanes + lane) * width);
#pragma unroll
  for (int i = 0; i < Vectors; ++i) {
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float value = widen(values[i].value[k]);
      sum += value * value;
    }
  }
#pragma unroll
  for (int distance = Lanes / 2; distance > 0; distance /= 2)
    sum += __shfl_xor_sync(0xffffffffU, sum, distance);
  if (!inside) return;
  const float factor = plan.scale / fmaxf(sqrtf(sum), 1e-12F);
  Out* const to = plan.out + frame * plan.out_frame + row * plan.out_row + column * plan.out_column;
#pragma unroll
  for (int i = 0; i < Vectors; ++i) {
    const int channel = (i * Lanes + lane) * width;
    const auto gamma = Elements<float, width>::load(plan.gamma + channel);
    Elements<Out, width> result;
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float normed = widen(values[i].value[k]) * factor * gamma.value[k];
      result.value[k] = narrow<Out>(plan.silu ? silu<Out>(normed) : normed);
    }
    result.store(to + channel);
  }
}

template <typename T, typename Out, int Lanes, int Vectors>
cudaError_t launch(const PixelNormCall& call, cudaStream_t stream) {
  const Activation& x = call.x;
  const Activation& out = call.out;
  constexpr int pixels = threads / Lanes;
  const int segments = (x.columns + pixels - 1) / pixels;
  const NormPlan<T, Out> plan{static_cast<const T*>(x.data),
                              call.gamma,
                              static_cast<Out*>(const_cast<void*>(out.data)),
                              x.rows,
                              x.columns,
                              segments,
                              x.frame_stride,
                              x.row_stride,
                              x.column_stride,
                              out.frame_stride,
                              out.row_stride,
                              out.column_stride,
                              sqrtf(static_cast<float>(x.channels)),
                              call.silu};
  norm_pixels<T, Out, Lanes, Vectors><<<segments * x.rows * x.frames, threads, 0, stream>>>(plan);
  return cudaGetLastError();
}

template <typename T, typename Out, int Lanes>
cudaError_t launch_lanes(const PixelNormCall& call, int vectors, cudaStream_t stream) {
  switch (vectors) {
    case 3:
      return launch<T, Out, Lanes, 3>(call, stream);
    case 4:
      return launch<T, Out, Lanes, 4>(call, stream);
    case 5:
      return launch<T, Out, Lanes, 5>(call, stream);
    default:
      break;
  }
  if constexpr (Lanes == 32) {
    if (vectors == 8) return launch<T, Out, Lanes, 8>(call, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

int pixel_norm_lanes(int channels, Element type) {
  const int width = type == Element::fp32 ? 4 : 8;
  if (channels <= 0 || channels % width != 0) return 0;
  const int vectors = channels / width;
  for (const int lanes : {4, 8, 16, 32}) {
    for (const int per_lane : {3, 4, 5}) {
      if (lanes * per_lane == vectors) return lanes;
    }
  }
  return vectors == 32 * 8 ? 32 : 0;
}

namespace {

template <typename T, typename Out>
cudaError_t launch_types(const PixelNormCall& call, cudaStream_t stream) {
  const int lanes = pixel_norm_lanes(call.x.channels, call.type);
  if (lanes == 0) return cudaErrorInvalidValue;
  const int vectors = call.x.channels / static_cast<int>(16 / sizeof(T)) / lanes;
  switch (lanes) {
    case 4:
      return launch_lanes<T, Out, 4>(call, vectors, stream);
    case 8:
      return launch_lanes<T, Out, 8>(call, vectors, stream);
    case 16:
      return launch_lanes<T, Out, 16>(call, vectors, stream);
    default:
      return launch_lanes<T, Out, 32>(call, vectors, stream);
  }
}

}  // namespace

cudaError_t launch_rms_norm_silu(const PixelNormCall& call, cudaStream_t stream) {
  return with_type(call.type, [&](auto type) {
    using T = typename decltype(type)::type;
    return launch_types<T, T>(call, stream);
  });
}

cudaError_t launch_wide_rms_norm_silu(const PixelNormCall& call, cudaStream_t stream) {
  return with_type(
      call.type, [&](auto type) { return launch_types<typename decltype(type)::type, float>(call, stream); });
}

}  // namespace wan::kernels::cuda
