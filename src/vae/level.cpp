#include "vae/level.h"

namespace wan::vae {

at::Tensor down_shortcut(const at::Tensor& x, const DownShortcut& level) {
  at::Tensor means = at::avg_pool2d(x, {2, 2});  // [C, T, h/2, W/2]
  if (!level.temporal) return means;
  // The clip's first chunk is one frame, the second of its pair.
  const at::Tensor paired = level.starts_clip ? at::constant_pad_nd(means, {0, 0, 0, 0, 1, 0}) : means;
  return paired.unflatten(1, {-1, 2}).transpose(1, 2).flatten(0, 1);  // [2C, T/2, h/2, W/2]
}

void add_up_shortcut(const at::Tensor& out, const at::Tensor& in) {
  const std::int64_t frames = in.size(1);
  const at::Tensor cells = out.unflatten(3, {-1, 2}).unflatten(2, {-1, 2});  // [out, T', h, 2, W, 2]
  if (out.size(0) == in.size(0)) {
    // T' is T in the clip's first chunk, where the first of two repeated frames is dropped.
    cells
        .unflatten(1, {frames, -1})  // [C, T, T'/T, h, 2, W, 2]
        .add_(in.unsqueeze(2).unsqueeze(4).unsqueeze(6));
  } else {
    const at::Tensor row_pairs = in.unflatten(0, {-1, 2}).permute({0, 2, 3, 1, 4});  // [C/2, T, h, 2, W]
    cells.add_(row_pairs.unsqueeze(5));
  }
}

}  // namespace wan::vae
