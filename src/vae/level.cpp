#include "vae/level.h"

namespace wan::vae {

at::Tensor down_shortcut(const at::Tensor& x, const DownShortcut& level) {
  const at::Tensor cells = x.unflatten(2, {-1, 2}).unflatten(1, {-1, 2});  // [T, h/2, 2, W/2, 2, C]
  const auto cell = [&](std::int64_t row, std::int64_t column) {
    return cells.select(4, column).select(2, row);
  };
  at::Tensor means =
      cell(0, 0).add(cell(0, 1)).add_(cell(1, 0)).add_(cell(1, 1)).mul_(0.25);  // [T, h/2, W/2, C]
  if (!level.temporal) return means;
  // The clip's first chunk is one frame, the second of its pair.
  const at::Tensor paired = level.starts_clip ? at::cat({at::zeros_like(means), means}, 0) : means;
  return paired.unflatten(0, {-1, 2}).permute({0, 2, 3, 4, 1}).flatten(3, 4);  // [T/2, h/2, W/2, 2C]
}

void add_up_shortcut(const at::Tensor& out, const at::Tensor& in) {
  const at::Tensor cells = out.unflatten(2, {-1, 2}).unflatten(1, {-1, 2});  // [T', h, 2, W, 2, out]
  if (out.size(3) == in.size(3)) {
    // T' is T in the clip's first chunk, where the first of two repeated frames is dropped.
    cells
        .unflatten(0, {in.size(0), -1})  // [T, T'/T, h, 2, W, 2, C]
        .add_(in.unsqueeze(1).unsqueeze(3).unsqueeze(5));
  } else {
    const at::Tensor row_pairs = in.unflatten(3, {-1, 2}).permute({0, 1, 4, 2, 3});  // [T, h, 2, W, C/2]
    cells.add_(row_pairs.unsqueeze(4));
  }
}

}  // namespace wan::vae
