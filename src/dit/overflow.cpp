#include "dit/overflow.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <array>
#include <string_view>

namespace wan::dit {
namespace {

constexpr int sub_layers = 3;

}  // namespace

int OverflowPlace::order() const { return block * sub_layers + static_cast<int>(layer); }

std::string OverflowPlace::describe() const {
  constexpr std::array<std::string_view, sub_layers> names{"self-attention", "cross-attention",
                                                           "feed-forward"};
  // An embedding made before the blocks shows where it is used first.
  constexpr std::array<std::string_view, sub_layers> before{"the patch embedding or ",
                                                            "the text's embedding or ", ""};
  const auto index = static_cast<std::size_t>(layer);
  return fmt::format("{}the {} of block {}", block == 0 ? before.at(index) : "", names.at(index), block);
}

OverflowMarks::OverflowMarks(std::int64_t blocks, const at::Device& device)
    : marks_(at::zeros({blocks, sub_layers}, at::TensorOptions(device).dtype(at::kInt))) {}

at::Tensor OverflowMarks::of(int block, SubLayer layer) const {
  return marks_.select(0, block).narrow(0, static_cast<int>(layer), 1);
}

std::optional<OverflowPlace> OverflowMarks::take() {
  const at::Tensor seen =
      marks_.to(at::kCPU, at::kInt, /*non_blocking=*/false, /*copy=*/true);  // int32 [blocks, sub-layers]
  marks_.zero_();
  const int* marks = seen.const_data_ptr<int>();
  for (int i = 0; i < static_cast<int>(seen.numel()); ++i) {
    if (marks[i] != 0)
      return OverflowPlace{.block = i / sub_layers, .layer = static_cast<SubLayer>(i % sub_layers)};
  }
  return std::nullopt;
}

}  // namespace wan::dit
