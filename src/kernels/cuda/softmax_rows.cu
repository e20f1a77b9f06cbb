#include <cfloat>

#include "kernels/cuda/row.cuh"
#include "kernels/cuda/softmax_rows.h"

namespace wan::kernels::cuda {
namespace {

constexpr int threads = 512;

__device__ float block_max(float value, float* scratch) {
#pragma unroll
  for (int distance = warp_size / 2; distance > 0; distance /= 2)
    value = fmaxf(value, __shfl_xor_sync(0xffffffffU, value, distance));
  if (threadIdx.x % warp_size == 0) scratch[threadIdx.x / warp_size] = value;
  __syncthreads();
  float most = scratch[0];
  for (int warp = 1; warp < threads / warp_size; ++warp) most = fmaxf(most, scratch[warp]);
  return most;
}

/// To the nearest TF32 number, ties to even, as the copy engine rounds.
__device__ float tf32(float value) {
  const unsigned bits = __float_as_uint(value);
  return __uint_as_float((bits + 0xFFFU + ((bits >> 13U) & 1U)) & ~0x1FFFU);
}

/// A block for each row, which lies in shared memory meanwhile. The order of the sum depends on the row's
/// length alone.
template <typename T>
__global__ void __launch_bounds__(threads) softmax_rows(const SoftmaxRows rows) {
  extern __shared__ float4 row[];
  __shared__ float maxima[max_warps];
  __shared__ float sums[max_warps];
  const std::int64_t first = blockIdx.x * std::int64_t{rows.length};
  float* const scores = rows.scores + first;
  float most = -FLT_MAX;
  for (int i = static_cast<int>(threadIdx.x); i < rows.length / 4; i += threads) {
    const float4 four = __ldcs(reinterpret_cast<const float4*>(scores) + i);
    row[i] = four;
    most = fmaxf(fmaxf(most, fmaxf(four.x, four.y)), fmaxf(four.z, four.w));
  }
  most = block_max(most, maxima);
  const auto power = [&](float score) { return expf((score - most) * rows.scale); };
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < rows.length / 4;
       i += threads) {  // what it has written itself
    float4 four = row[i];
    four = {power(four.x), power(four.y), power(four.z), power(four.w)};
    sum += (four.x + four.y) + (four.z + four.w);
    row[i] = four;
  }
  const float factor = 1.0F / block_sum(sum, sums);
  for (int i = static_cast<int>(threadIdx.x); i < rows.length / 4; i += threads) {
    const float4 four = row[i];
    const Elements<float, 4> share{{four.x * factor, four.y * factor, four.z * factor, four.w * factor}};
    if constexpr (sizeof(T) == 4) {
      share.store(scores + 4 * i);
      Elements<float, 4> rest;
#pragma unroll
      for (int k = 0; k < 4; ++k) rest.value[k] = share.value[k] - tf32(share.value[k]);
      rest.store(static_cast<float*>(rows.out) + first + 4 * i);
    } else {
      Elements<T, 4> rounded_share;
#pragma unroll
      for (int k = 0; k < 4; ++k) rounded_share.value[k] = narrow<T>(share.value[k]);
      rounded_share.store(static_cast<T*>(rows.out) + first + 4 * i);
    }
  }
}

__global__ void __launch_bounds__(256) tf32_rests(const float* x, float* rests, std::int64_t count) {
  const std::int64_t at = (blockIdx.x * std::int64_t{256} + threadIdx.x) * 4;
  if (at >= count) return;
  auto four = Elements<float, 4>::load(x + at);
#pragma unroll
  for (int k = 0; k < 4; ++k) four.value[k] -= tf32(four.value[k]);
  four.store(rests + at);
}

}  // namespace

cudaError_t launch_softmax_rows(const SoftmaxRows& rows, cudaStream_t stream) {
  if (rows.length % 4 != 0 || rows.length > max_softmax_row) return cudaErrorInvalidValue;
  return with_type(rows.type, [&](auto type) {
    using T = typename decltype(type)::type;
    const int bytes = rows.length * static_cast<int>(sizeof(float));
    if (const cudaError_t status = cudaFuncSetAttribute(
            softmax_rows<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, max_softmax_row * 4)) {
      return status;
    }
    softmax_rows<T><<<static_cast<unsigned>(rows.rows), threads, bytes, stream>>>(rows);
    return cudaGetLastError();
  });
}

cudaError_t launch_tf32_rests(const float* x, float* rests, std::int64_t count, cudaStream_t stream) {
  if (count % 4 != 0) return cudaErrorInvalidValue;
  tf32_rests<<<static_cast<unsigned>((count / 4 + 255) / 256), 256, 0, stream>>>(x, rests, count);
  return cudaGetLastError();
}

}  // namespace wan::kernels::cuda
