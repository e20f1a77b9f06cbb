#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace wan::checkpoint {

/// Columns of a product that are computed at a time.
inline constexpr std::int64_t panel_columns = 16;

/// A matrix A [rank, columns] in fp64, in panels of `panel_columns` columns: [panel][rank][panel_columns],
/// with zeros behind the last column.
class PackedDown {
 public:
  PackedDown() = default;
  PackedDown(std::span<const float> values, std::int64_t rank, std::int64_t columns);

  std::int64_t rank() const { return rank_; }
  std::int64_t panels() const { return (columns_ + panel_columns - 1) / panel_columns; }
  const double* panel(std::int64_t index) const { return panels_.data() + index * rank_ * panel_columns; }

 private:
  std::int64_t rank_ = 0;
  std::int64_t columns_ = 0;
  std::vector<double> panels_;
};

/// One panel of the product B A for some rows of B: out[row][panel_columns]. `up`: [rows, rank] in fp64.
///
/// Both factors hold fp32 values, whose products are exact in fp64. The sum over the rank runs from its first
/// member to its last. So an element has the same bits on every processor, for any rows and panels that are
/// computed with it (model.md 12).
void multiply_panel(std::span<const double> up, std::int64_t rows, const PackedDown& down, std::int64_t panel,
                    std::span<double> out);

}  // namespace wan::checkpoint
