#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/instruction_set.h"

/// The part that products and attention on the CPU share: some rows of x times a panel of the other factor.
/// Each value is summed by itself, in an order that depends on the length of the sum only. So its bits do not
/// depend on the number of rows, on a row's place among them, or on the division among threads.
namespace wan::kernels::cpu {

/// Columns of a panel: two vectors.
template <typename T>
std::int64_t panel_width() {
  return std::int64_t{2} * vector_bytes() / static_cast<std::int64_t>(sizeof(T));
}

/// A matrix [depth, columns] somewhere in memory, in any type.
template <typename Source>
struct StridedMatrix {
  const Source* values;
  std::int64_t depth_stride, column_stride;
};

/// Columns [first, first + used) of a matrix as one panel [depth][width], zeros beyond them.
template <typename T, typename Source>
void pack_panel(T* panel, const StridedMatrix<Source>& matrix, std::int64_t depth, std::int64_t first,
                std::int64_t used, std::int64_t width) {
  const Source* source = matrix.values + first * matrix.column_stride;
  if (used < width) std::fill_n(panel, depth * width, T{0});
  if (matrix.column_stride == 1) {
    for (std::int64_t k = 0; k < depth; ++k)
      for (std::int64_t c = 0; c < used; ++c)
        panel[k * width + c] = static_cast<T>(source[k * matrix.depth_stride + c]);
    return;
  }
  constexpr std::int64_t block = 64;  // rows of the panel that stay in the cache while columns are read
  for (std::int64_t begin = 0; begin < depth; begin += block) {
    const std::int64_t end = std::min(begin + block, depth);
    for (std::int64_t c = 0; c < used; ++c) {
      const Source* column = source + c * matrix.column_stride;
      for (std::int64_t k = begin; k < end; ++k)
        panel[k * width + c] = static_cast<T>(column[k * matrix.depth_stride]);
    }
  }
}

template <typename T, typename Isa>
struct Vectors {
  using Type [[gnu::vector_size(Isa::vector_bytes)]] = T;
  static constexpr int lanes = Isa::vector_bytes / sizeof(T);
};

/// result[r][0, width) = the sums over k of x[r][k] * panel[k][0, width), for `Rows` rows.
template <typename T, typename Isa, int Rows>
WAN_INLINE void multiply_tile(const T* x, std::int64_t x_stride, const T* panel, std::int64_t depth,
                              T* result, std::int64_t result_stride) {
  using Vector = typename Vectors<T, Isa>::Type;
  constexpr int lanes = Vectors<T, Isa>::lanes;
  // Pieces are summed by themselves, which makes rounding errors smaller than one long sum does.
  constexpr std::int64_t piece = 256;
  Vector sums[Rows][2] = {};  // NOLINT(modernize-avoid-c-arrays)
  for (std::int64_t begin = 0; begin < depth; begin += piece) {
    const std::int64_t end = std::min(begin + piece, depth);
    Vector part[Rows][2] = {};  // NOLINT(modernize-avoid-c-arrays)
    for (std::int64_t k = begin; k < end; ++k) {
      Vector low, high;
      std::memcpy(&low, panel + k * 2 * lanes, sizeof(Vector));
      std::memcpy(&high, panel + k * 2 * lanes + lanes, sizeof(Vector));
#pragma GCC unroll 12
      for (int r = 0; r < Rows; ++r) {
        part[r][0] += low * x[r * x_stride + k];
        part[r][1] += high * x[r * x_stride + k];
      }
    }
    for (int r = 0; r < Rows; ++r) {
      sums[r][0] += part[r][0];
      sums[r][1] += part[r][1];
    }
  }
  for (int r = 0; r < Rows; ++r) std::memcpy(result + r * result_stride, sums[r], sizeof(sums[r]));
}

/// The same for 1 to Isa::positions rows.
template <typename T, typename Isa>
WAN_INLINE void multiply_rows(std::int64_t rows, const T* x, std::int64_t x_stride, const T* panel,
                              std::int64_t depth, T* result, std::int64_t result_stride) {
  if (rows == Isa::positions) {
    multiply_tile<T, Isa, Isa::positions>(x, x_stride, panel, depth, result, result_stride);
    return;
  }
  constexpr int few = 4;
  std::int64_t row = 0;
  for (; row + few <= rows; row += few)
    multiply_tile<T, Isa, few>(x + row * x_stride, x_stride, panel, depth, result + row * result_stride,
                               result_stride);
  for (; row < rows; ++row)
    multiply_tile<T, Isa, 1>(x + row * x_stride, x_stride, panel, depth, result + row * result_stride,
                             result_stride);
}

}  // namespace wan::kernels::cpu
