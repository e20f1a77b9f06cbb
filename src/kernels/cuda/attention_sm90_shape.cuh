#pragma once

#include <cuda.h>
#include <cuda_bf16.h>

#include <cstdint>

#include "cutlass/arch/barrier.h"

namespace wan::kernels::cuda::sm90 {

inline constexpr int head_dim = 128;
inline constexpr int line_bytes = 128;  ///< a line of a tile
inline constexpr int half_dim = 64;     ///< elements of a row that one 128-byte swizzled line holds
inline constexpr int group_rows = 64;   ///< queries of one warp group
inline constexpr int groups = 2;        ///< warp groups that compute
inline constexpr int warps_of_group = 4;
inline constexpr int group_threads = 128;
inline constexpr int block_threads = (1 + groups) * group_threads;  ///< one warp group loads

/// The form of one kernel. `keys`: keys in a tile. `blocks`: thread blocks of a cluster, which share tiles of
/// K and V. `stages`: tiles of K, and of V, in shared memory. `turns`: the warp groups issue products in
/// turns, so that one computes exponentials while the other multiplies. `repeats`: the last key may count
/// several times.
template <int keys_, int blocks_, int stages_, bool turns_, bool repeats_>
struct Shape {
  static constexpr int keys = keys_;
  static constexpr int blocks = blocks_;
  static constexpr int stages = stages_;
  static constexpr bool turns = turns_;
  static constexpr bool repeats = repeats_;
  static constexpr int tile_bytes = keys * head_dim * 2;
  static constexpr int query_bytes = group_rows * head_dim * 2;
  static_assert(keys % 16 == 0 && keys % (8 * blocks) == 0);
};

using Element = __nv_bfloat16;
using FullBarrier = cutlass::arch::ClusterTransactionBarrier;
using EmptyBarrier = cutlass::arch::ClusterBarrier;

/// The shared memory of a block. Each tile is two halves of 64 columns, [half][row][64], in lines of 128
/// bytes that the tensor memory accelerator swizzles.
template <typename S>
struct alignas(1024) Memory {
  Element k[S::stages][S::keys * head_dim];
  Element v[S::stages][S::keys * head_dim];
  Element q[groups][group_rows * head_dim];
  FullBarrier k_full[S::stages];
  FullBarrier v_full[S::stages];
  FullBarrier q_full[groups];
  EmptyBarrier k_empty[S::stages];
  EmptyBarrier v_empty[S::stages];
  EmptyBarrier q_empty[groups];
  float never_written;
};

/// The kernel's parameters.
struct Parameters {
  CUtensorMap q;
  CUtensorMap k;
  CUtensorMap v;
  Element* out;  ///< [queries, heads, 128]
  std::int64_t out_token_stride;
  std::int64_t out_head_stride;
  int queries;
  int keys;
  int key_tiles;     ///< tiles of keys, the last of which may be partly empty
  int tiles;         ///< tiles of queries of a head, counted in clusters
  int works;         ///< tiles times heads
  float scale_log2;  ///< scale * log2(e)
  float last_bonus;  ///< added to the last key's score, before the scale: log(times that it counts) / scale
};

/// One tile of queries of one head.
struct Work {
  int head;
  int first_query;
};

template <typename S>
__device__ __forceinline__ Work work_at(const Parameters& parameters, int index, int rank) {
  const int head = index / parameters.tiles;
  const int tile = (index - head * parameters.tiles) * S::blocks + rank;
  return {.head = head, .first_query = tile * groups * group_rows};
}

/// A place in a ring of buffers, and the parity of the barrier's phase there.
template <int size>
struct Ring {
  int slot = 0;
  std::uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++slot == size) {
      slot = 0;
      parity ^= 1;
    }
  }
};

}  // namespace wan::kernels::cuda::sm90
