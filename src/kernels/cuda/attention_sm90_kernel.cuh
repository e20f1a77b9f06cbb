#pragma once

#include "cute/arch/cluster_sm90.hpp"
#include "cute/arch/copy_sm90_desc.hpp"
#include "cute/arch/copy_sm90_tma.hpp"
#include "cutlass/arch/reg_reconfig.h"
#include "kernels/cuda/attention_sm90_matrix.cuh"
#include "kernels/cuda/attention_sm90_shape.cuh"
#include "kernels/cuda/attention_sm90_softmax.cuh"

namespace wan::kernels::cuda::sm90 {
/// Loads tiles into shared memory: one thread of a block. The blocks of a cluster load a part of each tile of
/// K and V each, and every block gets all parts.
template <typename S>
class Producer {
 public:
  __device__ __forceinline__ Producer(const Parameters& parameters, Memory<S>& memory, int rank)
      : parameters_(parameters), memory_(memory), rank_(rank) {}

  /// Loads what the consumers take, in the order in which they take it: V follows a step behind K.
  __device__ __forceinline__ void run(int first, int stride) {
    const int last_tile = parameters_.key_tiles - 1;
    Work work = work_at<S>(parameters_, first, rank_);
    load_queries(work);
    load_keys(last_tile, work.head);
#pragma unroll 1
    for (int index = first; index < parameters_.works; index += stride) {
#pragma unroll 1
      for (int tile = last_tile; tile > 0; --tile) {
        load_keys(tile - 1, work.head);
        load_values(tile, work.head);
      }
      const int head = work.head;
      if (index + stride < parameters_.works) {
        work = work_at<S>(parameters_, index + stride, rank_);
        load_queries(work);
        load_keys(last_tile, work.head);
      }
      load_values(0, head);
    }
  }

 private:
  using Hint = cute::TMA::CacheHintSm90;

  __device__ __forceinline__ void load_queries(const Work& work) {
#pragma unroll
    for (int group = 0; group < groups; ++group) {
      FullBarrier& full = memory_.q_full[group];
      memory_.q_empty[group].wait(q_parity_ ^ 1);
      full.arrive_and_expect_tx(S::query_bytes);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        cute::SM90_TMA_LOAD_3D::copy(&parameters_.q, barrier_of(full),
                                     static_cast<std::uint64_t>(Hint::EVICT_FIRST),
                                     memory_.q[group] + half * (group_rows * half_dim), half * half_dim,
                                     work.head, work.first_query + group * group_rows);
      }
    }
    q_parity_ ^= 1;
  }

  __device__ __forceinline__ void load_keys(int tile, int head) {
    const int slot = k_.slot;
    memory_.k_empty[slot].wait(k_.parity ^ 1);
    load_rows(parameters_.k, memory_.k_full[slot], memory_.k[slot], tile, head);
    k_.advance();
  }

  __device__ __forceinline__ void load_values(int tile, int head) {
    const int slot = v_.slot;
    memory_.v_empty[slot].wait(v_.parity ^ 1);
    load_rows(parameters_.v, memory_.v_full[slot], memory_.v[slot], tile, head);
    v_.advance();
  }

  /// Loads this block's part of a tile of K or V, for all blocks of the cluster.
  __device__ __forceinline__ void load_rows(const CUtensorMap& map, FullBarrier& full, Element* place,
                                            int tile, int head) {
    constexpr int rows = S::keys / S::blocks;
    constexpr auto hint = static_cast<std::uint64_t>(Hint::EVICT_LAST);
    full.arrive_and_expect_tx(S::tile_bytes);
    const int row = tile * S::keys + rank_ * rows;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      Element* const part = place + half * (S::keys * half_dim) + rank_ * (rows * half_dim);
      if constexpr (S::blocks == 1) {
        cute::SM90_TMA_LOAD_3D::copy(&map, barrier_of(full), hint, part, half * half_dim, head, row);
      } else {
        cute::SM90_TMA_LOAD_MULTICAST_3D::copy(&map, barrier_of(full), (1U << S::blocks) - 1, hint, part,
                                               half * half_dim, head, row);
      }
    }
  }

  static __device__ __forceinline__ std::uint64_t* barrier_of(FullBarrier& barrier) {
    return reinterpret_cast<std::uint64_t*>(&barrier);
  }

  const Parameters& parameters_;
  Memory<S>& memory_;
  const int rank_;
  std::uint32_t q_parity_ = 0;
  Ring<S::stages> k_;
  Ring<S::stages> v_;
};

/// Computes the results of 64 queries after the other: one warp group. The first product of a tile is issued
/// together with the second product of the tile before, also across the end of a tile of queries.
template <typename S>
class Consumer {
 public:
  __device__ __forceinline__ Consumer(const Parameters& parameters, Memory<S>& memory, int rank, int group)
      : parameters_(parameters), memory_(memory), rank_(rank), group_(group) {
    if (S::turns && group_ == 1) pass_turn();
  }

  __device__ __forceinline__ void run(int first, int stride) {
    take_queries();
    memory_.k_full[k_.slot].wait(k_.parity);
    issue_scores();
    cute::warpgroup_wait<0>();
    fence(scores_);
    release(memory_.k_empty, k_);
    release_queries();
    float correction[2];
    mask();
    softmax<true>(scores_, weights_, state_, parameters_.scale_log2, correction, [](float) {});
    for (int index = first;; index += stride) {
      clear_sums();
      for (int tile = 1; tile < parameters_.key_tiles; ++tile) next_tile();
      const Work work = work_at<S>(parameters_, index, rank_);
      if (index + stride >= parameters_.works) {
        finish(work);
        return;
      }
      turn_to_next(work);
    }
  }

 private:
  /// Scores of a further tile of keys, and the values of the tile before.
  __device__ __forceinline__ void next_tile() {
    memory_.k_full[k_.slot].wait(k_.parity);
    wait_for_turn();
    issue_scores();
    memory_.v_full[v_.slot].wait(v_.parity);
    start_values<S>(sums_, weights_, memory_.v[v_.slot]);
    pass_turn();
    cute::warpgroup_wait<1>();
    fence(scores_);
    release(memory_.k_empty, k_);
    float correction[2];
    const bool corrects = softmax<false>(scores_, weights_, state_, parameters_.scale_log2, correction,
                                         [&](float sum) { finish_values(sum); });
    if (corrects) multiply_rows(sums_, correction);
  }

  /// The last values of a tile of queries, and the first scores of the next tile of queries.
  __device__ __forceinline__ void turn_to_next(const Work& work) {
    take_queries();
    memory_.k_full[k_.slot].wait(k_.parity);
    wait_for_turn();
    issue_scores();
    memory_.v_full[v_.slot].wait(v_.parity);
    start_values<S>(sums_, weights_, memory_.v[v_.slot]);
    pass_turn();
    cute::warpgroup_wait<1>();
    fence(scores_);
    release(memory_.k_empty, k_);
    release_queries();
    const RowState finished = state_;
    float correction[2];
    mask();
    softmax<true>(scores_, weights_, state_, parameters_.scale_log2, correction,
                  [&](float sum) { finish_values(sum); });
    store_rows(parameters_, sums_, finished, work.head, row_of(work));
  }

  /// Waits for the values of the tile before in the midst of the exponentials of this one.
  __device__ __forceinline__ void finish_values(float sum) {
    finish_before_wait(sum);
    cute::warpgroup_wait<0>();
    fence(sums_);
    release(memory_.v_empty, v_);
  }

  /// The last values of all.
  __device__ __forceinline__ void finish(const Work& work) {
    memory_.v_full[v_.slot].wait(v_.parity);
    wait_for_turn();
    start_values<S>(sums_, weights_, memory_.v[v_.slot]);
    if (group_ == 0) pass_turn();
    cute::warpgroup_wait<0>();
    fence(sums_);
    release(memory_.v_empty, v_);
    store_rows(parameters_, sums_, state_, work.head, row_of(work));
  }

  /// Loads the next queries into registers. Read from shared memory, they would take a quarter of what the
  /// first product reads there.
  __device__ __forceinline__ void take_queries() {
    memory_.q_full[group_].wait(q_parity_);
    load_queries(queries_, memory_.q[group_]);
    q_parity_ ^= 1;
  }

  /// Lets the producer overwrite the queries in shared memory. Only a product that has used the registers
  /// shows that the loads into them have ended: an arrival can overtake loads that were issued before it.
  __device__ __forceinline__ void release_queries() {
    __syncwarp();
    if (threadIdx.x % 32 == 0) memory_.q_empty[group_].arrive();
  }

  __device__ __forceinline__ void issue_scores() { start_scores<S>(scores_, queries_, memory_.k[k_.slot]); }

  /// Before the softmax of the first tile of keys, which is the last in memory: it alone may be partly empty,
  /// and it holds the last key.
  __device__ __forceinline__ void mask() {
    const int valid = parameters_.keys - (parameters_.key_tiles - 1) * S::keys;
    if (valid < S::keys) mask_after(scores_, valid);
    if constexpr (S::repeats) add_to_column(scores_, valid - 1, parameters_.last_bonus);
  }

  /// Keeps the computation of `sum`, which is never near the largest float, before the wait that follows.
  /// Without it, the compiler moves most exponentials after the wait, where nothing of this warp group
  /// overlaps with them.
  __device__ __forceinline__ void finish_before_wait(float sum) {
    asm volatile(
        "{\n"
        ".reg .pred huge;\n"
        "setp.gt.f32 huge, %0, 0f7F000000;\n"
        "@huge st.volatile.shared.f32 [%1], %0;\n"
        "}\n" ::"f"(sum),
        "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(&memory_.never_written)))
        : "memory");
  }

  __device__ __forceinline__ void clear_sums() {
#pragma unroll
    for (float& sum : sums_) sum = 0;
  }

  /// Tells the producers of all blocks that this warp has read a tile.
  __device__ __forceinline__ void release(EmptyBarrier (&empty)[S::stages], Ring<S::stages>& ring) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if constexpr (S::blocks == 1) {
      if (lane == 0) empty[ring.slot].arrive();
    } else {
      if (lane < S::blocks) empty[ring.slot].arrive(lane);
    }
    ring.advance();
  }

  /// Named barriers 1 and 2: the first and the second warp group may issue products.
  __device__ __forceinline__ void wait_for_turn() {
    if constexpr (S::turns) asm volatile("bar.sync %0, 256;" ::"r"(1 + group_) : "memory");
  }
  __device__ __forceinline__ void pass_turn() {
    if constexpr (S::turns) asm volatile("bar.arrive %0, 256;" ::"r"(2 - group_) : "memory");
  }

  __device__ __forceinline__ int row_of(const Work& work) const {
    const int thread = static_cast<int>(threadIdx.x) % group_threads;
    return work.first_query + group_ * group_rows + thread / 32 * 16 + thread % 32 / 4;
  }

  const Parameters& parameters_;
  Memory<S>& memory_;
  const int rank_;
  const int group_;
  std::uint32_t q_parity_ = 0;
  Ring<S::stages> k_;
  Ring<S::stages> v_;
  RowState state_{};
  std::uint32_t queries_[head_dim / 4];
  float scores_[S::keys / 2];
  std::uint32_t weights_[S::keys / 4];
  float sums_[head_dim / 2];
};

template <typename S>
__device__ __forceinline__ void set_up_barriers(Memory<S>& memory) {
  constexpr int warps = groups * warps_of_group * S::blocks;
  for (int i = 0; i < S::stages; ++i) {
    memory.k_full[i].init(1);
    memory.v_full[i].init(1);
    memory.k_empty[i].init(warps);
    memory.v_empty[i].init(warps);
  }
  for (int i = 0; i < groups; ++i) {
    memory.q_full[i].init(1);
    memory.q_empty[i].init(warps_of_group);
  }
  cutlass::arch::fence_barrier_init();
}

/// All threads of a cluster meet: nobody sends to a block that has not begun or has ended.
template <typename S>
__device__ __forceinline__ void meet() {
  __syncwarp();
  if constexpr (S::blocks == 1) {
    __syncthreads();
  } else {
    cute::cluster_arrive();
    cute::cluster_wait();
  }
}

template <typename S>
__global__ void __launch_bounds__(block_threads, 1)
    attention_kernel(const __grid_constant__ Parameters parameters) {
  extern __shared__ __align__(1024) unsigned char bytes[];
  Memory<S>& memory = *reinterpret_cast<Memory<S>*>(bytes);
  const int warp = __shfl_sync(0xFFFFFFFFU, static_cast<int>(threadIdx.x) / 32, 0);
  const int rank = static_cast<int>(blockIdx.x) % S::blocks;
  const int first = static_cast<int>(blockIdx.x) / S::blocks;
  const int stride = static_cast<int>(gridDim.x) / S::blocks;
  if (threadIdx.x == 0) set_up_barriers(memory);
  meet<S>();
  if (warp < warps_of_group) {
    cutlass::arch::warpgroup_reg_dealloc<24>();
    if (threadIdx.x == 0) Producer<S>(parameters, memory, rank).run(first, stride);
  } else {
    cutlass::arch::warpgroup_reg_alloc<240>();
    Consumer<S>(parameters, memory, rank, warp / warps_of_group - 1).run(first, stride);
  }
  meet<S>();
}

}  // namespace wan::kernels::cuda::sm90
