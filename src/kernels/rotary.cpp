#include "kernels/rotary.h"

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <vector>

namespace wan::kernels {
namespace {

constexpr double rotary_base = 10000.0;

/// Angular speed of each pair of an axis with `pairs` pairs.
std::vector<double> speeds(std::int64_t pairs) {
  std::vector<double> result;
  result.reserve(static_cast<std::size_t>(pairs));
  for (std::int64_t j = 0; j < pairs; ++j) {
    result.push_back(std::pow(rotary_base, -static_cast<double>(j) / static_cast<double>(pairs)));
  }
  return result;
}

}  // namespace

RotaryTable make_rotary_table(const TokenGrid& grid, std::int64_t head_dim, std::int64_t first,
                              std::int64_t count) {
  const std::int64_t spatial_pairs = head_dim / 6;  // pairs for rows, and as many for columns
  const std::int64_t pairs = head_dim / 2;
  const std::array<std::vector<double>, 3> axis_speeds{speeds(pairs - 2 * spatial_pairs),
                                                       speeds(spatial_pairs), speeds(spatial_pairs)};
  RotaryTable table{.cos = at::ones({count, pairs}, at::kFloat),
                    .sin = at::zeros({count, pairs}, at::kFloat)};
  auto* cos = table.cos.data_ptr<float>();
  auto* sin = table.sin.data_ptr<float>();
  for (std::int64_t i = 0; i < count && first + i < grid.tokens(); ++i) {
    const std::int64_t token = first + i;
    const std::array<std::int64_t, 3> position{token / (grid.rows * grid.columns),
                                               token / grid.columns % grid.rows, token % grid.columns};
    std::int64_t pair = i * pairs;
    for (std::size_t axis = 0; axis < 3; ++axis) {
      for (const double speed : axis_speeds[axis]) {
        const double angle = static_cast<double>(position[axis]) * speed;
        cos[pair] = static_cast<float>(std::cos(angle));
        sin[pair] = static_cast<float>(std::sin(angle));
        ++pair;
      }
    }
  }
  return table;
}

at::Tensor apply_rotary(const at::Tensor& x, const RotaryTable& table) {
  const at::Tensor pairs = x.to(at::kFloat).unflatten(-1, {-1, 2});  // [tokens, heads, head_dim / 2, 2]
  const at::Tensor a = pairs.select(-1, 0);                          // [tokens, heads, head_dim / 2]
  const at::Tensor b = pairs.select(-1, 1);
  const at::Tensor cos = table.cos.unsqueeze(1);  // [tokens, 1, head_dim / 2]
  const at::Tensor sin = table.sin.unsqueeze(1);
  return at::stack({a * cos - b * sin, a * sin + b * cos}, -1).flatten(-2).to(x.scalar_type());
}

}  // namespace wan::kernels
