#pragma once

#include <cuda_bf16.h>

#include <bit>
#include <cstdint>

#include "kernels/cuda/attention_sm90_shape.cuh"

namespace wan::kernels::cuda::sm90 {

/// The running maximum and sum of the two rows that a thread works on: scores[4 i] and [4 i + 1] belong to
/// the first, the other two to the second. `sum` is over the thread's own columns; four threads share a row.
struct RowState {
  float maximum_log2[2];
  float sum[2];
};

/// A maximum is exceeded by up to 8 in log2 before it follows: weights stay below 2^8, their relative
/// accuracy is the same.
inline constexpr float lazy_log2 = 8.0F;

__device__ __forceinline__ float exp2_approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Scores of keys at or after `valid` become -infinity.
template <int count>
__device__ __forceinline__ void mask_after(float (&scores)[count], int valid) {
  const int first_column = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int i = 0; i < count; ++i) {
    if (i / 4 * 8 + i % 2 + first_column >= valid) scores[i] = -INFINITY;
  }
}

/// Adds `bonus` to the scores of the key in column `column`.
template <int count>
__device__ __forceinline__ void add_to_column(float (&scores)[count], int column, float bonus) {
  const int first_column = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int i = 0; i < count; ++i) {
    if (i / 4 * 8 + i % 2 + first_column == column) scores[i] += bonus;
  }
}

__device__ __forceinline__ std::uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

/// The largest score of one row of the tile. Four threads share a row.
template <int count>
__device__ __forceinline__ float row_maximum(const float (&scores)[count], int row) {
  float largest = fmaxf(scores[2 * row], scores[2 * row + 1]);
#pragma unroll
  for (int i = 4; i < count; i += 4) {
    largest = fmaxf(largest, fmaxf(scores[i + 2 * row], scores[i + 2 * row + 1]));
  }
  largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFU, largest, 1));
  return fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFU, largest, 2));
}

/// Moves a pair of scores of a row to the scale of the exponentials and below the row's maximum.
template <int count>
__device__ __forceinline__ void subtract(float (&scores)[count], int row, int pair, float maximum_log2,
                                         float scale_log2) {
  float& left = scores[4 * pair + 2 * row];
  float& right = scores[4 * pair + 2 * row + 1];
  left = fmaf(left, scale_log2, -maximum_log2);
  right = fmaf(right, scale_log2, -maximum_log2);
}

/// The larger of `above` and two scores, as bits. Bits of numbers above zero are ordered as the numbers are,
/// and those of numbers below zero are below those of zero.
template <int count>
__device__ __forceinline__ int rise(int above, const float (&scores)[count], int row, int pair) {
  return __vimax3_s32(above, __float_as_int(scores[4 * pair + 2 * row]),
                      __float_as_int(scores[4 * pair + 2 * row + 1]));
}

/// Lets the maximum of a row follow if the row has a score that exceeds it by too much. `above`: the bits of
/// the largest difference of this thread. Returns the factor of earlier results, which is exactly 1 if the
/// maximum stays.
template <int count>
__device__ __forceinline__ float follow(float (&scores)[count], RowState& state, int row, int above) {
  float top = __int_as_float(above);
  top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFU, top, 1));
  top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFU, top, 2));
  top = top > lazy_log2 ? top : 0.0F;
  const float correction = exp2_approximate(-top);
  state.maximum_log2[row] += top;
  state.sum[row] *= correction;
#pragma unroll
  for (int pair = 0; pair < count / 4; ++pair) {
    scores[4 * pair + 2 * row] -= top;
    scores[4 * pair + 2 * row + 1] -= top;
  }
  return correction;
}

/// Computes the exponentials of a row. The multiprocessor is slow at them: between them, beside(pair) does
/// other work, and done(pair) takes finished ones, two pairs later.
template <int count, typename Beside, typename Done>
__device__ __forceinline__ void exponentials(float (&scores)[count], int row, const Beside& beside,
                                             const Done& done) {
  constexpr int pairs = count / 4;
  constexpr int delay = 2;
#pragma unroll
  for (int pair = 0; pair < pairs + delay; ++pair) {
    if (pair < pairs) {
      float& left = scores[4 * pair + 2 * row];
      float& right = scores[4 * pair + 2 * row + 1];
      left = exp2_approximate(left);
      right = exp2_approximate(right);
      beside(pair);
    }
    if (pair >= delay) done(pair - delay);
  }
}

/// Scores of a tile become weights. wait() is called when half of the exponentials are computed: the
/// weights of the tile before are free then. Returns whether earlier results must be multiplied by
/// `correction`.
template <bool first, int count, typename Wait>
__device__ __forceinline__ bool softmax(float (&scores)[count], std::uint32_t (&weights)[count / 2],
                                        RowState& state, float scale_log2, float (&correction)[2],
                                        const Wait& wait) {
  constexpr int pairs = count / 4;
  bool corrects = false;
  int above[2] = {0, 0};
  correction[0] = 1;
  correction[1] = 1;
  if constexpr (first) {
    state.maximum_log2[0] = row_maximum(scores, 0) * scale_log2;
    state.maximum_log2[1] = row_maximum(scores, 1) * scale_log2;
    state.sum[0] = 0;
    state.sum[1] = 0;
  }
  const auto add = [&](int row, int pair) {
    state.sum[row] += scores[4 * pair + 2 * row] + scores[4 * pair + 2 * row + 1];
  };
  const auto pack_pair = [&](int row, int pair) {
    weights[2 * pair + row] = pack(scores[4 * pair + 2 * row], scores[4 * pair + 2 * row + 1]);
  };
#pragma unroll
  for (int pair = 0; pair < pairs; ++pair) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      subtract(scores, row, pair, state.maximum_log2[row], scale_log2);
      if constexpr (!first) above[row] = rise(above[row], scores, row, pair);
    }
  }
  if constexpr (!first) {
    corrects = __any_sync(0xFFFFFFFFU, max(above[0], above[1]) > __float_as_int(lazy_log2));
    if (corrects) {
      correction[0] = follow(scores, state, 0, above[0]);
      correction[1] = follow(scores, state, 1, above[1]);
    }
  }
  exponentials(
      scores, 0, [](int) {}, [&](int pair) { add(0, pair); });
  wait(state.sum[0]);
  exponentials(
      scores, 1, [&](int pair) { pack_pair(0, pair); },
      [&](int pair) {
        add(1, pair);
        pack_pair(1, pair);
      });
  return corrects;
}

/// Multiplies each row by its factor.
template <int count>
__device__ __forceinline__ void multiply_rows(float (&sums)[count], const float (&factor)[2]) {
#pragma unroll
  for (int i = 0; i < count; ++i) sums[i] *= factor[i / 2 % 2];
}

/// Writes sums / (sum of the weights) of the thread's two rows in bf16. Two neighbouring threads exchange
/// halves first, so that four threads write 32 neighbouring bytes. `row`: the first row's number.
__device__ __forceinline__ void store_rows(const Parameters& parameters, float (&sums)[head_dim / 2],
                                           const RowState& state, int head, int row) {
  const int lane = static_cast<int>(threadIdx.x) % 4;
  const bool odd = lane % 2 != 0;
  Element* const head_rows = parameters.out + head * parameters.out_head_stride;
  float inverse[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float sum = state.sum[i] + __shfl_xor_sync(0xFFFFFFFFU, state.sum[i], 1);
    sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 2);
    inverse[i] = 1.0F / sum;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int token = row + 8 * i;
    Element* const place = head_rows + token * parameters.out_token_stride + (odd ? 8 : 0) + lane / 2 * 4;
#pragma unroll
    for (int column = 0; column < head_dim; column += 16) {
      const int first = column / 2 + 2 * i;
      const std::uint32_t left = pack(sums[first] * inverse[i], sums[first + 1] * inverse[i]);
      const std::uint32_t right = pack(sums[first + 4] * inverse[i], sums[first + 5] * inverse[i]);
      const std::uint32_t other = __shfl_xor_sync(0xFFFFFFFFU, odd ? left : right, 1);
      const uint2 four = odd ? make_uint2(other, right) : make_uint2(left, other);
      if (token < parameters.queries) *reinterpret_cast<uint2*>(place + column) = four;
    }
  }
}

}  // namespace wan::kernels::cuda::sm90
