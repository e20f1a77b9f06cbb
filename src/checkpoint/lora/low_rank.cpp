// Compiled with -ffp-contract=fast: a fused multiply-add of an exact product rounds as a multiplication and
// an addition do.
#include "checkpoint/lora/low_rank.h"

#include <cstring>

#include "core/check.h"

namespace wan::checkpoint {
namespace {

template <int bytes>
struct Lanes {
  using Vector [[gnu::vector_size(bytes)]] = double;
};

/// `row_count` rows of one panel, with vectors of so many bytes.
template <int bytes, int row_count>
[[gnu::always_inline]] inline void multiply_rows(const double* up, const double* down, std::int64_t rank,
                                                 double* out) {
  using Vector = typename Lanes<bytes>::Vector;
  constexpr int lanes = bytes / static_cast<int>(sizeof(double));
  constexpr int vectors = static_cast<int>(panel_columns) / lanes;
  Vector sums[row_count][vectors] = {};
  for (std::int64_t k = 0; k < rank; ++k) {
    Vector values[vectors];
    std::memcpy(values, down + k * panel_columns, sizeof(values));
    for (int row = 0; row < row_count; ++row) {
      const double factor = up[row * rank + k];
      for (int i = 0; i < vectors; ++i) sums[row][i] += factor * values[i];
    }
  }
  for (int row = 0; row < row_count; ++row)
    std::memcpy(out + row * panel_columns, sums[row], sizeof(sums[row]));
}

template <int bytes, int row_count>
[[gnu::always_inline]] inline void multiply_all(const double* up, const double* down, std::int64_t rows,
                                                std::int64_t rank, double* out) {
  std::int64_t row = 0;
  for (; row + row_count <= rows; row += row_count)
    multiply_rows<bytes, row_count>(up + row * rank, down, rank, out + row * panel_columns);
  for (; row < rows; ++row) multiply_rows<bytes, 1>(up + row * rank, down, rank, out + row * panel_columns);
}

using Multiply = void (*)(const double* up, const double* down, std::int64_t rows, std::int64_t rank,
                          double* out);

// As many rows at a time as the sums fit into the registers.
void multiply_plain(const double* up, const double* down, std::int64_t rows, std::int64_t rank, double* out) {
  multiply_all<16, 1>(up, down, rows, rank, out);
}

#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] void multiply_avx2(const double* up, const double* down, std::int64_t rows,
                                               std::int64_t rank, double* out) {
  multiply_all<32, 2>(up, down, rows, rank, out);
}

[[gnu::target("avx512f")]] void multiply_avx512(const double* up, const double* down, std::int64_t rows,
                                                std::int64_t rank, double* out) {
  multiply_all<64, 6>(up, down, rows, rank, out);
}
#endif

Multiply choose_multiply() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return multiply_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return multiply_avx2;
#endif
  return multiply_plain;
}

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

void multiply_panel(std::span<const double> up, std::int64_t rows, const PackedDown& down, std::int64_t panel,
                    std::span<double> out) {
  static const Multiply multiply = choose_multiply();
  WAN_CHECK(std::ssize(up) == rows * down.rank() && std::ssize(out) >= rows * panel_columns &&
                panel < down.panels(),
            "a panel of {} rows", rows);
  multiply(up.data(), down.panel(panel), rows, down.rank(), out.data());
}

}  // namespace wan::checkpoint
