#include "kernels/cuda/row.cuh"

namespace wan::kernels::cuda {
namespace {

constexpr int unit = 4;  // elements that a thread takes at a time: 16 bytes of fp32

/// x += gate * residual for this thread's units. Keeps the result in `x` and stores it. Residual is void if
/// there is none.
template <int Units, typename Residual>
__device__ void add_residual(const LayerNormRows& rows, float* row, Elements<float, unit> (&x)[Units]) {
  const Residual* residual =
      static_cast<const Residual*>(rows.residual) + blockIdx.x * std::int64_t{rows.dim};
  Elements<Residual, unit> y[Units];
#pragma unroll
  for (int i = 0; i < Units; ++i) {
    const int at = static_cast<int>(threadIdx.x + i * blockDim.x) * unit;
    if (at < rows.dim) y[i] = Elements<Residual, unit>::load_once(residual + at);
  }
#pragma unroll
  for (int i = 0; i < Units; ++i) {
    const int at = static_cast<int>(threadIdx.x + i * blockDim.x) * unit;
    if (at >= rows.dim) continue;
    Elements<float, unit> gate{{1, 1, 1, 1}};
    if (rows.gate != nullptr) gate = Elements<float, unit>::load(rows.gate + at);
#pragma unroll
    for (int j = 0; j < unit; ++j) x[i].value[j] = fmaf(widen(y[i].value[j]), gate.value[j], x[i].value[j]);
    x[i].store(row + at);
  }
}

template <int Units, typename Residual, typename Parameter, bool AroundOne, typename Out>
__global__ void __launch_bounds__(max_threads<Units>) layer_norm_kernel(LayerNormRows rows) {
  __shared__ float sums[max_warps];
  __shared__ float squares[max_warps];
  const std::int64_t first = blockIdx.x * std::int64_t{rows.dim};
  float* row = rows.x + first;
  Elements<float, unit> x[Units] = {};
#pragma unroll
  for (int i = 0; i < Units; ++i) {
    const int at = static_cast<int>(threadIdx.x + i * blockDim.x) * unit;
    if (at < rows.dim) x[i] = Elements<float, unit>::load_once(row + at);
  }
  if constexpr (!std::is_void_v<Residual>) add_residual<Units, Residual>(rows, row, x);

  float sum = 0;
#pragma unroll
  for (int i = 0; i < Units; ++i) {
#pragma unroll
    for (int j = 0; j < unit; ++j) sum += x[i].value[j];  // units beyond the row are zero
  }
  const float mean = block_sum(sum, sums) / static_cast<float>(rows.dim);
  // One value that is not finite makes the sum not finite. All blocks that write, write the same.
  if (rows.overflow != nullptr && threadIdx.x == 0 && !isfinite(mean)) *rows.overflow = 1;
  float square = 0;
#pragma unroll
  for (int i = 0; i < Units; ++i) {
    const int at = static_cast<int>(threadIdx.x + i * blockDim.x) * unit;
    if (at >= rows.dim) continue;
#pragma unroll
    for (int j = 0; j < unit; ++j) square += (x[i].value[j] - mean) * (x[i].value[j] - mean);
  }
  const float scale = __frsqrt_rn(block_sum(square, squares) / static_cast<float>(rows.dim) + rows.eps);

  Out* out = static_cast<Out*>(rows.out) + first;
#pragma unroll
  for (int i = 0; i < Units; ++i) {
    const int at = static_cast<int>(threadIdx.x + i * blockDim.x) * unit;
    if (at >= rows.dim) continue;
    const auto weight = Elements<Parameter, unit>::load(static_cast<const Parameter*>(rows.weight) + at);
    const auto bias = Elements<Parameter, unit>::load(static_cast<const Parameter*>(rows.bias) + at);
    Elements<Out, unit> result;
#pragma unroll
    for (int j = 0; j < unit; ++j) {
      float norm = (x[i].value[j] - mean) * scale;
      if (rows.round_norm) norm = rounded<__nv_bfloat16>(norm);
      const float factor = AroundOne ? 1.0F + widen(weight.value[j]) : widen(weight.value[j]);
      result.value[j] = narrow<Out>(fmaf(norm, factor, widen(bias.value[j])));
    }
    result.store(out + at);
  }
}

// A launch has one 16-bit type beside fp32: Half.

template <typename Half, typename Residual, typename Parameter, bool AroundOne>
cudaError_t launch_typed(const LayerNormRows& rows, cudaStream_t stream) {
  return with_float_or<Half>(rows.out_type, [&](auto out) {
    return with_units(rows.dim / unit, [&](auto units, int threads) {
      layer_norm_kernel<units(), Residual, Parameter, AroundOne, typename decltype(out)::type>
          <<<static_cast<unsigned>(rows.tokens), threads, 0, stream>>>(rows);
    });
  });
}

template <typename Half, typename Residual>
cudaError_t launch_with_residual(const LayerNormRows& rows, cudaStream_t stream) {
  if (rows.around_one) {
    if (rows.parameter_type != Element::fp32) return cudaErrorInvalidValue;
    return launch_typed<Half, Residual, float, true>(rows, stream);
  }
  return with_float_or<Half>(rows.parameter_type, [&](auto parameter) {
    return launch_typed<Half, Residual, typename decltype(parameter)::type, false>(rows, stream);
  });
}

template <typename Half>
cudaError_t launch_with_half(const LayerNormRows& rows, cudaStream_t stream) {
  if (rows.residual == nullptr) return launch_with_residual<Half, void>(rows, stream);
  return with_float_or<Half>(rows.residual_type, [&](auto residual) {
    return launch_with_residual<Half, typename decltype(residual)::type>(rows, stream);
  });
}

template <typename Residual>
__global__ void __launch_bounds__(256) add_gated_kernel(GatedRows rows) {
  const std::int64_t first = blockIdx.x * std::int64_t{rows.dim};
  float* row = rows.x + first;
  const Residual* residual = static_cast<const Residual*>(rows.residual) + first;
  for (int at = static_cast<int>(threadIdx.x) * unit; at < rows.dim;
       at += static_cast<int>(blockDim.x) * unit) {
    auto x = Elements<float, unit>::load_once(row + at);
    const auto y = Elements<Residual, unit>::load_once(residual + at);
    Elements<float, unit> gate{{1, 1, 1, 1}};
    if (rows.gate != nullptr) gate = Elements<float, unit>::load(rows.gate + at);
#pragma unroll
    for (int j = 0; j < unit; ++j) x.value[j] = fmaf(widen(y.value[j]), gate.value[j], x.value[j]);
    x.store(row + at);
  }
}

}  // namespace

cudaError_t launch_layer_norm(const LayerNormRows& rows, cudaStream_t stream) {
  const Element types[] = {rows.residual_type, rows.parameter_type, rows.out_type};
  bool has_bf16 = false;
  bool has_fp16 = false;
  for (const Element type : types) {
    has_bf16 |= type == Element::bf16;
    has_fp16 |= type == Element::fp16;
  }
  if (has_bf16 && has_fp16) return cudaErrorInvalidValue;
  return has_fp16 ? launch_with_half<__half>(rows, stream) : launch_with_half<__nv_bfloat16>(rows, stream);
}

cudaError_t launch_add_gated(const GatedRows& rows, cudaStream_t stream) {
  return with_type(rows.residual_type, [&](auto residual) {
    add_gated_kernel<typename decltype(residual)::type>
        <<<static_cast<unsigned>(rows.tokens), 256, 0, stream>>>(rows);
    return cudaGetLastError();
  });
}

}  // namespace wan::kernels::cuda
