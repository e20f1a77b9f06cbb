#include <cuda_bf16.h>

#include <algorithm>

#include "kernels/cuda/launch.h"

namespace wan::kernels::cuda {
namespace {

// A block has a tile of the weight, and each of its threads a part of 4 rows and of twice 4 columns.
constexpr int threads_per_block = 256;
constexpr int rows_per_thread = 4;
constexpr int columns_per_group = 4;
constexpr int groups = 2;
constexpr int columns_per_thread = columns_per_group * groups;
constexpr int threads_across = 16;  // a warp has two rows of threads
constexpr int rows_per_block = threads_per_block / threads_across * rows_per_thread;
constexpr int columns_per_block = threads_across * columns_per_thread;
constexpr int depth = 16;  // columns of `up` and rows of `down` that lie in shared memory at a time

__device__ float as_float(float value) { return value; }
__device__ float as_float(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ void store(float* place, float value) { *place = value; }
__device__ void store(__nv_bfloat16* place, float value) { *place = __float2bfloat16_rn(value); }

struct Tile {
  long long first_row, last_row;  // of the range; rows behind the last one repeat it
  long long first_column, columns;
};

struct Factors {
  // Padded, so that threads of a warp write to different banks, and aligned for loads of 16 bytes.
  alignas(16) float up[depth][rows_per_block + 4];
  alignas(16) float down[depth][columns_per_block];
};

using Products = float[rows_per_thread][columns_per_thread];  // of a thread's part
using Sums = double[rows_per_thread][columns_per_thread];

/// The row or column in its tile of a thread's part.
__device__ int row_of(int row) {
  return static_cast<int>(threadIdx.x) / threads_across * rows_per_thread + row;
}
__device__ int column_of(int column) {
  const int group = column / columns_per_group;
  return group * threads_across * columns_per_group +
         static_cast<int>(threadIdx.x) % threads_across * columns_per_group + column % columns_per_group;
}

/// A thread's part of the factors that the block loads.
struct Loaded {
  float up[rows_per_block * depth / threads_per_block];
  float down[columns_per_block * depth / threads_per_block];
};

/// Columns [k, k + depth) of `up` and these rows of `down`. All loads are on their way before one is awaited.
__device__ Loaded load(const LowRankRange::Share& share, const Tile& tile, int k) {
  const int thread = static_cast<int>(threadIdx.x);
  Loaded loaded = {};
#pragma unroll
  for (int i = 0; i < rows_per_block * depth / threads_per_block; ++i) {
    const int at = k + thread % depth;
    const long long row =
        min(tile.first_row + thread / depth + i * (threads_per_block / depth), tile.last_row);
    if (at < share.rank) loaded.up[i] = __ldg(share.up + (row - share.first_row) * share.rank + at);
  }
  const long long column = tile.first_column + thread % columns_per_block;
#pragma unroll
  for (int i = 0; i < columns_per_block * depth / threads_per_block; ++i) {
    const int at = k + thread / columns_per_block + i * (threads_per_block / columns_per_block);
    if (at < share.rank && column < tile.columns)
      loaded.down[i] = __ldg(share.down + at * tile.columns + column);
  }
  return loaded;
}

__device__ void put(const Loaded& loaded, Factors& factors) {
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int i = 0; i < rows_per_block * depth / threads_per_block; ++i)
    factors.up[thread % depth][thread / depth + i * (threads_per_block / depth)] = loaded.up[i];
#pragma unroll
  for (int i = 0; i < columns_per_block * depth / threads_per_block; ++i) {
    const int row = thread / columns_per_block + i * (threads_per_block / columns_per_block);
    factors.down[row][thread % columns_per_block] = loaded.down[i];
  }
}

/// One addend of each product.
__device__ void add_products(const Factors& factors, int k, Products& products) {
  const float4 up = *reinterpret_cast<const float4*>(&factors.up[k][row_of(0)]);
  const float of_rows[rows_per_thread] = {up.x, up.y, up.z, up.w};
#pragma unroll
  for (int group = 0; group < groups; ++group) {
    const int first = group * columns_per_group;
    const float4 down = *reinterpret_cast<const float4*>(&factors.down[k][column_of(first)]);
    const float of_columns[columns_per_group] = {down.x, down.y, down.z, down.w};
#pragma unroll
    for (int row = 0; row < rows_per_thread; ++row) {
#pragma unroll
      for (int i = 0; i < columns_per_group; ++i)
        products[row][first + i] = __fmaf_rn(of_rows[row], of_columns[i], products[row][first + i]);
    }
  }
}

/// up x down. Each product is one chain of fused operations in the order of k, as on the CPU. While a part of
/// the factors is used, the next one comes.
__device__ void multiply(const LowRankRange::Share& share, const Tile& tile, Factors& factors,
                         Products& products) {
  Loaded next = load(share, tile, 0);
  for (int k = 0; k < share.rank; k += depth) {
    __syncthreads();  // the factors before have been used
    put(next, factors);
    __syncthreads();
    if (k + depth < share.rank) next = load(share, tile, k + depth);
    const int count = min(depth, share.rank - k);
    if (count == depth) {
#pragma unroll
      for (int i = 0; i < depth; ++i) add_products(factors, i, products);
    } else {
      for (int i = 0; i < count; ++i) add_products(factors, i, products);
    }
  }
}

/// Rounded after each operation, as on the CPU.
__device__ double plus(double sum, double strength, float value) {
  return __dadd_rn(sum, __dmul_rn(strength, static_cast<double>(value)));
}

/// Calls work(row, column, place in the range) for the elements of a thread's part that lie in the range.
template <typename Work>
__device__ void for_each(const LowRankRange& range, const Tile& tile, const Work& work) {
#pragma unroll
  for (int row = 0; row < rows_per_thread; ++row) {
#pragma unroll
    for (int column = 0; column < columns_per_thread; ++column) {
      const long long at = tile.first_column + column_of(column);
      const long long place = (tile.first_row + row_of(row)) * tile.columns + at - range.first;
      if (at < tile.columns && place >= 0 && place < range.count) work(row, column, place);
    }
  }
}

__device__ Tile tile_of(const LowRankRange& range) {
  return {.first_row = range.first / range.columns + static_cast<long long>(blockIdx.x) * rows_per_block,
          .last_row = (range.first + range.count - 1) / range.columns,
          .first_column = static_cast<long long>(blockIdx.y) * columns_per_block,
          .columns = range.columns};
}

/// base + sum(row, column). All elements of the base are on their way before the first one is replaced.
template <typename Base, typename Out, typename Sum>
__device__ void add(const LowRankRange& range, const Tile& tile, const Sum& sum) {
  Products base = {};
  for_each(range, tile, [&](int row, int column, long long place) {
    base[row][column] = as_float(static_cast<const Base*>(range.base)[place]);
  });
  for_each(range, tile, [&](int row, int column, long long place) {
    const double value = __dadd_rn(static_cast<double>(base[row][column]), sum(row, column, place));
    store(static_cast<Out*>(range.out) + place, __double2float_rn(value));
  });
}

/// For one LoRA, the usual case: no sums lie in registers while the factors are multiplied.
template <typename Base, typename Out>
__global__ void __launch_bounds__(threads_per_block, 2) add_one_kernel(LowRankRange range) {
  __shared__ Factors factors;
  const Tile tile = tile_of(range);
  const LowRankRange::Share& share = range.shares[0];
  Products products = {};
  multiply(share, tile, factors, products);
  add<Base, Out>(range, tile, [&](int row, int column, long long place) {
    const double sum = plus(0, share.factor, products[row][column]);
    return share.difference == nullptr ? sum : plus(sum, share.strength, share.difference[place]);
  });
}

template <typename Base, typename Out>
__global__ void __launch_bounds__(threads_per_block, 2) add_low_rank_kernel(LowRankRange range) {
  __shared__ Factors factors;
  const Tile tile = tile_of(range);
  Sums sums = {};
  for (int i = 0; i < range.share_count; ++i) {
    const LowRankRange::Share& share = range.shares[i];
    if (share.rank > 0) {
      Products products = {};
      multiply(share, tile, factors, products);
#pragma unroll
      for (int row = 0; row < rows_per_thread; ++row) {
#pragma unroll
        for (int column = 0; column < columns_per_thread; ++column)
          sums[row][column] = plus(sums[row][column], share.factor, products[row][column]);
      }
    }
    if (share.difference == nullptr) continue;
    for_each(range, tile, [&](int row, int column, long long place) {
      sums[row][column] = plus(sums[row][column], share.strength, share.difference[place]);
    });
  }
  add<Base, Out>(range, tile, [&](int row, int column, long long) { return sums[row][column]; });
}

template <typename Base, typename Out>
cudaError_t launch(const LowRankRange& range, cudaStream_t stream) {
  const long long rows = (range.first + range.count - 1) / range.columns - range.first / range.columns + 1;
  const dim3 blocks(static_cast<unsigned>((rows + rows_per_block - 1) / rows_per_block),
                    static_cast<unsigned>((range.columns + columns_per_block - 1) / columns_per_block));
  const bool is_one_pair = range.share_count == 1 && range.shares[0].rank > 0;
  const auto kernel = is_one_pair ? add_one_kernel<Base, Out> : add_low_rank_kernel<Base, Out>;
  kernel<<<blocks, threads_per_block, 0, stream>>>(range);
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
