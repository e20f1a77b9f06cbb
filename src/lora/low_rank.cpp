// Compiled with -O3 -ffp-contract=fast, so that each multiplication and addition of vectors is one fused
// operation. lora_test holds every element to std::fma().
#include "lora/low_rank.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/check.h"

namespace wan::lora {
namespace {

using Multiply = void (*)(const float* up, const float* down, std::int64_t rows, std::int64_t rank,
                          float* out);

/// For a processor without fused operations on vectors.
void multiply_plain(const float* up, const float* down, std::int64_t rows, std::int64_t rank, float* out) {
  std::fill_n(out, rows * panel_columns, 0.0F);
  for (std::int64_t row = 0; row < rows; ++row) {
    float* sums = out + row * panel_columns;
    for (std::int64_t k = 0; k < rank; ++k) {
      const float factor = up[row * rank + k];
      const float* values = down + k * panel_columns;
      for (std::int64_t i = 0; i < panel_columns; ++i) sums[i] = std::fma(factor, values[i], sums[i]);
    }
  }
}

#if defined(__x86_64__)

template <int bytes>
struct Lanes {
  using Vector [[gnu::vector_size(bytes)]] = float;
};

/// `row_count` rows of one panel, with vectors of so many bytes.
template <int bytes, int row_count>
[[gnu::always_inline]] inline void multiply_rows(const float* up, const float* down, std::int64_t rank,
                                                 float* out) {
  // Clang 14 needs the typename.
  using Vector = typename Lanes<bytes>::Vector;  // NOLINT(readability-redundant-typename)
  constexpr int vectors = static_cast<int>(panel_columns * sizeof(float)) / bytes;
  Vector sums[row_count][vectors] = {};
  for (std::int64_t k = 0; k < rank; ++k) {
    Vector values[vectors];
    std::memcpy(values, down + k * panel_columns, sizeof(values));
    for (int row = 0; row < row_count; ++row) {
      const float factor = up[row * rank + k];
      for (int i = 0; i < vectors; ++i) sums[row][i] += factor * values[i];
    }
  }
  for (int row = 0; row < row_count; ++row)
    std::memcpy(out + row * panel_columns, sums[row], sizeof(sums[row]));
}

template <int bytes, int row_count>
[[gnu::always_inline]] inline void multiply_all(const float* up, const float* down, std::int64_t rows,
                                                std::int64_t rank, float* out) {
  std::int64_t row = 0;
  for (; row + row_count <= rows; row += row_count)
    multiply_rows<bytes, row_count>(up + row * rank, down, rank, out + row * panel_columns);
  for (; row < rows; ++row) multiply_rows<bytes, 1>(up + row * rank, down, rank, out + row * panel_columns);
}

// As many rows at a time as the sums fit into the registers.
[[gnu::target("avx2,fma")]] void multiply_avx2(const float* up, const float* down, std::int64_t rows,
                                               std::int64_t rank, float* out) {
  multiply_all<32, 2>(up, down, rows, rank, out);
}

[[gnu::target("avx512f")]] void multiply_avx512(const float* up, const float* down, std::int64_t rows,
                                                std::int64_t rank, float* out) {
  multiply_all<64, 8>(up, down, rows, rank, out);
}

Multiply choose_multiply() {
  if (__builtin_cpu_supports("avx512f")) return multiply_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return multiply_avx2;
  return multiply_plain;
}

#else

Multiply choose_multiply() { return multiply_plain; }

#endif

}  // namespace

PackedDown::PackedDown(std::span<const float> values, std::int64_t rank, std::int64_t columns)
    : rank_(rank), columns_(columns), panels_(static_cast<std::size_t>(panels() * rank * panel_columns)) {
  WAN_CHECK(std::ssize(values) == rank * columns, "{} values for [{}, {}]", values.size(), rank, columns);
  for (std::int64_t k = 0; k < rank; ++k) {
    for (std::int64_t column = 0; column < columns; ++column) {
      const std::int64_t at = (column / panel_columns * rank + k) * panel_columns + column % panel_columns;
      panels_[static_cast<std::size_t>(at)] = values[static_cast<std::size_t>(k * columns + column)];
    }
  }
}

void multiply_panel(std::span<const float> up, std::int64_t rows, const PackedDown& down, std::int64_t panel,
                    std::span<float> out) {
  static const Multiply multiply = choose_multiply();
  WAN_CHECK(std::ssize(up) == rows * down.rank() && std::ssize(out) >= rows * panel_columns &&
                panel < down.panels(),
            "a panel of {} rows", rows);
  multiply(up.data(), down.panel(panel), rows, down.rank(), out.data());
}

}  // namespace wan::lora
