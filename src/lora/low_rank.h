#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace wan::lora {

/// Columns of a product that are computed at a time.
inline constexpr std::int64_t panel_columns = 32;

/// A matrix A [rank, columns] in panels of `panel_columns` columns: [panel][rank][panel_columns], with zeros
/// behind the last column.
class PackedDown {
 public:
  PackedDown(std::span<const float> values, std::int64_t rank, std::int64_t columns);

  std::int64_t rank() const { return rank_; }
  std::int64_t panels() const { return (columns_ + panel_columns - 1) / panel_columns; }
  const float* panel(std::int64_t index) const { return panels_.data() + index * rank_ * panel_columns; }

 private:
  std::int64_t rank_ = 0;
  std::int64_t columns_ = 0;
  std::vector<float> panels_;
};

/// One panel of the product B A for some rows of B: out[row][panel_columns]. `up`: [rows, rank].
///
/// An element is sum = fma(B[row, k], A[k, column], sum) in fp32 for k = 0 ... rank - 1, from 0 on. So it has
/// the same bits on every processor, for any rows and panels that are computed with it (model.md 1.9).
void multiply_panel(std::span<const float> up, std::int64_t rows, const PackedDown& down, std::int64_t panel,
                    std::span<float> out);

}  // namespace wan::lora
