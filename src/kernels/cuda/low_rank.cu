#include <cuda_bf16.h>

#include <algorithm>

#include "kernels/cuda/launch.h"

namespace wan::kernels::cuda {
namespace {

constexpr int columns_per_block = 128;  // a thread has one column
constexpr int rows_per_block = 16;  // of a thread, too: each value of `down` that it reads serves them all

__device__ float as_float(float value) { return value; }
__device__ float as_float(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ void store(float* place, float value) { *place = value; }
__device__ void store(__nv_bfloat16* place, float value) { *place = __float2bfloat16_rn(value); }

/// Adds factor x (up down) of one column to the sums of the rows. Rows behind the last one repeat it.
__device__ void add_pair(const LowRankRange::Share& share, long long first_row, long long last_row,
                         long long column, long long columns, double (&sums)[rows_per_block]) {
  float products[rows_per_block] = {};
  int k = 0;
  if (share.rank % 4 == 0) {  // four at a time: a quarter of the loads of `up`
    for (; k < share.rank; k += 4) {
      const float* const down = share.down + k * columns + column;
      const float values[] = {down[0], down[columns], down[2 * columns], down[3 * columns]};
#pragma unroll
      for (int row = 0; row < rows_per_block; ++row) {
        const long long at = min(first_row + row, last_row) - share.first_row;
        const float4 up = *reinterpret_cast<const float4*>(share.up + at * share.rank + k);
        products[row] = __fmaf_rn(up.x, values[0], products[row]);
        products[row] = __fmaf_rn(up.y, values[1], products[row]);
        products[row] = __fmaf_rn(up.z, values[2], products[row]);
        products[row] = __fmaf_rn(up.w, values[3], products[row]);
      }
    }
  }
  for (; k < share.rank; ++k) {
    const float down = share.down[k * columns + column];
#pragma unroll
    for (int row = 0; row < rows_per_block; ++row) {
      const long long at = min(first_row + row, last_row) - share.first_row;
      products[row] = __fmaf_rn(share.up[at * share.rank + k], down, products[row]);
    }
  }
  // Rounded after each operation, as on the CPU.
#pragma unroll
  for (int row = 0; row < rows_per_block; ++row)
    sums[row] = __dadd_rn(sums[row], __dmul_rn(share.factor, static_cast<double>(products[row])));
}

template <typename Base, typename Out>
__global__ void __launch_bounds__(columns_per_block) add_low_rank_kernel(LowRankRange range) {
  const long long columns = range.columns;
  const long long column = static_cast<long long>(blockIdx.y) * columns_per_block + threadIdx.x;
  if (column >= columns) return;
  const long long end = range.first + range.count;
  const long long last_row = (end - 1) / columns;
  const long long first_row = range.first / columns + static_cast<long long>(blockIdx.x) * rows_per_block;
  double sums[rows_per_block] = {};
  for (int i = 0; i < range.share_count; ++i) {
    const LowRankRange::Share& share = range.shares[i];
    if (share.rank > 0) add_pair(share, first_row, last_row, column, columns, sums);
    if (share.difference == nullptr) continue;
#pragma unroll
    for (int row = 0; row < rows_per_block; ++row) {
      const long long place = (first_row + row) * columns + column;
      if (place < range.first || place >= end) continue;
      const double difference = share.difference[place - range.first];
      sums[row] = __dadd_rn(sums[row], __dmul_rn(share.strength, difference));
    }
  }
#pragma unroll
  for (int row = 0; row < rows_per_block; ++row) {
    const long long place = (first_row + row) * columns + column;
    if (place < range.first || place >= end) continue;
    const float base = as_float(static_cast<const Base*>(range.base)[place - range.first]);
    const double sum = __dadd_rn(static_cast<double>(base), sums[row]);
    store(static_cast<Out*>(range.out) + (place - range.first), __double2float_rn(sum));
  }
}

template <typename Base, typename Out>
cudaError_t launch(const LowRankRange& range, cudaStream_t stream) {
  const long long rows = (range.first + range.count - 1) / range.columns - range.first / range.columns + 1;
  const dim3 blocks(static_cast<unsigned>((rows + rows_per_block - 1) / rows_per_block),
                    static_cast<unsigned>((range.columns + columns_per_block - 1) / columns_per_block));
  add_low_rank_kernel<Base, Out><<<blocks, columns_per_block, 0, stream>>>(range);
  return cudaGetLastError();
}

template <typename Base>
cudaError_t launch_for(const LowRankRange& range, cudaStream_t stream) {
  return range.out_type == Element::bf16 ? launch<Base, __nv_bfloat16>(range, stream)
                                         : launch<Base, float>(range, stream);
}

}  // namespace

cudaError_t launch_add_low_rank(const LowRankRange& range, cudaStream_t stream) {
  return range.base_type == Element::bf16 ? launch_for<__nv_bfloat16>(range, stream)
                                          : launch_for<float>(range, stream);
}

}  // namespace wan::kernels::cuda
