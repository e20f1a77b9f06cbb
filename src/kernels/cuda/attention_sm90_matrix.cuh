#pragma once

#include <cstdint>
#include <utility>

#include "cute/arch/mma_sm90.hpp"
#include "cute/arch/mma_sm90_gmma.hpp"
#include "cute/arch/mma_sm90_gmma_ext.hpp"
#include "kernels/cuda/attention_sm90_shape.cuh"

namespace wan::kernels::cuda::sm90 {

using cute::SM90::GMMA::Major;
using cute::SM90::GMMA::ScaleOut;

/// The instruction that multiplies 64 queries, in registers, by a tile of keys, 16 elements of the head at a
/// time.
template <int keys>
struct ScoreInstruction;
template <>
struct ScoreInstruction<128> {
  using Type = cute::SM90::GMMA::MMA_64x128x16_F32BF16BF16_RS<Major::K, Major::K>;
};
template <>
struct ScoreInstruction<144> {
  using Type = cute::SM90::GMMA::MMA_64x144x16_F32BF16BF16_RS<Major::K, Major::K>;
};

/// The instruction that multiplies the weights of 64 queries, in registers, by 16 rows of values.
using ValueInstruction = cute::SM90::GMMA::MMA_64x128x16_F32BF16BF16_RS<Major::K, Major::MN>;

/// The descriptor of a tile in lines of 128 swizzled bytes. `leading_bytes`: the distance of the two halves,
/// for a tile whose columns are not summed over.
__device__ __forceinline__ std::uint64_t describe(const void* tile, int leading_bytes) {
  constexpr std::uint64_t swizzle_128 = std::uint64_t{1} << 62;
  constexpr std::uint64_t eight_lines = std::uint64_t{1024 >> 4} << 32;
  const std::uint64_t address = (static_cast<std::uint32_t>(__cvta_generic_to_shared(tile)) & 0x3FFFFU) >> 4;
  return swizzle_128 | eight_lines | (static_cast<std::uint64_t>(leading_bytes >> 4) << 16) | address;
}

template <int count>
__device__ __forceinline__ void fence(float (&registers)[count]) {
#pragma unroll
  for (int i = 0; i < count; ++i) cute::warpgroup_fence_operand(registers[i]);
}

template <int count>
__device__ __forceinline__ void fence(std::uint32_t (&registers)[count]) {
#pragma unroll
  for (int i = 0; i < count; ++i) cute::warpgroup_fence_operand(registers[i]);
}

template <typename Instruction, std::size_t... i>
__device__ __forceinline__ void multiply(const std::uint32_t* a, std::uint64_t b, float (&sums)[sizeof...(i)],
                                         ScaleOut scale, std::index_sequence<i...> /*registers*/) {
  Instruction::fma(a[0], a[1], a[2], a[3], b, sums[i]..., scale);
}

/// Loads 64 queries into registers, as the first operand of a product.
__device__ __forceinline__ void load_queries(std::uint32_t (&queries)[head_dim / 4], const Element* q) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(threadIdx.x) % group_threads / 32 * 16 + lane % 16;
  const std::uint32_t line = static_cast<std::uint32_t>(__cvta_generic_to_shared(q)) + row * line_bytes;
#pragma unroll
  for (int slice = 0; slice < head_dim / 16; ++slice) {
    const int chunk = (slice % 4 * 2 + lane / 16) ^ (row % 8);  // of 16 bytes, as the swizzle places it
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(queries[4 * slice]), "=r"(queries[4 * slice + 1]), "=r"(queries[4 * slice + 2]),
                   "=r"(queries[4 * slice + 3])
                 : "r"(line + slice / 4 * (group_rows * line_bytes) + chunk * 16)
                 : "memory");
  }
}

/// Starts scores = q k^T for a tile of 64 queries and a tile of keys.
template <typename S>
__device__ __forceinline__ void start_scores(float (&scores)[S::keys / 2],
                                             std::uint32_t (&queries)[head_dim / 4], const Element* k) {
  constexpr int slices_of_half = half_dim / 16;
  constexpr int half_step = S::keys * line_bytes / 16;
  const std::uint64_t k_tile = describe(k, 16);
  fence(scores);
  fence(queries);
  cute::warpgroup_arrive();
#pragma unroll
  for (int slice = 0; slice < head_dim / 16; ++slice) {
    const int in_line = slice % slices_of_half * 2;  // 16 elements are 32 bytes
    multiply<typename ScoreInstruction<S::keys>::Type>(
        &queries[4 * slice], k_tile + slice / slices_of_half * half_step + in_line, scores,
        slice == 0 ? ScaleOut::Zero : ScaleOut::One, std::make_index_sequence<S::keys / 2>());
  }
  cute::warpgroup_commit_batch();
}

/// Starts sums += weights v for a tile of keys.
template <typename S>
__device__ __forceinline__ void start_values(float (&sums)[head_dim / 2],
                                             std::uint32_t (&weights)[S::keys / 4], const Element* v) {
  const std::uint64_t v_tile = describe(v, S::keys * line_bytes);
  fence(sums);
  fence(weights);
  cute::warpgroup_arrive();
#pragma unroll
  for (int slice = 0; slice < S::keys / 16; ++slice) {
    multiply<ValueInstruction>(&weights[4 * slice], v_tile + slice * line_bytes, sums, ScaleOut::One,
                               std::make_index_sequence<head_dim / 2>());
  }
  cute::warpgroup_commit_batch();
}

}  // namespace wan::kernels::cuda::sm90
