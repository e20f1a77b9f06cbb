#include "vae/layers.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/check.h"
#include "vae/operations.h"

namespace wan::vae {

CausalConv3d::CausalConv3d(const WeightScope& weights, std::int64_t in, std::int64_t out,
                           std::array<std::int64_t, 3> kernel)
    : kernel_(kernel),
      weight_(weights.tensor("weight", {out, in, kernel[0], kernel[1], kernel[2]})),
      bias_(weights.tensor("bias", {out})) {}

at::Tensor CausalConv3d::window(const at::Tensor& x, const State& state, RowExchange& rows) const {
  const std::int64_t before = kernel_[0] - 1;
  const std::int64_t cached = state.frames.defined() ? state.frames.size(1) : 0;
  const std::int64_t halo = rows.alone() ? 0 : kernel_[1] / 2;
  if (before == 0 && halo == 0) return x;
  // [in, before + T, halo + h + halo, W]
  at::Tensor window =
      at::empty({x.size(0), before + x.size(1), x.size(2) + 2 * halo, x.size(3)}, x.options());
  if (cached < before) window.narrow(1, 0, before - cached).zero_();
  if (cached > 0) window.narrow(1, before - cached, cached).copy_(state.frames);
  const at::Tensor fresh = window.narrow(1, before, x.size(1));
  fresh.narrow(2, halo, x.size(2)).copy_(x);
  if (halo > 0) rows.fill_halo(fresh, halo, halo);  // the cached frames already have their halo rows
  return window;
}

at::Tensor CausalConv3d::operator()(const at::Tensor& x, State& state, RowExchange& rows) const {
  const std::int64_t before = kernel_[0] - 1;
  const at::Tensor input = window(x, state, rows);
  if (before > 0) {
    const std::int64_t seen = x.size(1) + (state.frames.defined() ? state.frames.size(1) : 0);
    const std::int64_t keep = std::min(before, seen);
    // A copy, because a view would keep the whole window alive until the next chunk.
    state.frames = input.narrow(1, input.size(1) - keep, keep).clone(at::MemoryFormat::Contiguous);
  }
  const std::int64_t row_padding = rows.alone() ? kernel_[1] / 2 : 0;
  return convolve(input.unsqueeze(0), weight_, bias_, {1, 1, 1}, {0, row_padding, kernel_[2] / 2}).squeeze(0);
}

namespace {

std::vector<std::int64_t> with_ones(std::vector<std::int64_t> shape, int ones) {
  shape.insert(shape.end(), ones, 1);
  return shape;
}

}  // namespace

PointwiseConv::PointwiseConv(const WeightScope& weights, std::int64_t in, std::int64_t out, int dims)
    : weight_(weights.tensor("weight", with_ones({out, in}, dims)).view({out, in, 1, 1, 1})),
      bias_(weights.tensor("bias", {out})) {}

at::Tensor PointwiseConv::operator()(const at::Tensor& x) const {
  return convolve(x.unsqueeze(0), weight_, bias_, {1, 1, 1}, {0, 0, 0}).squeeze(0);
}

RmsNorm::RmsNorm(const WeightScope& weights, std::int64_t channels, int dims)
    : gamma_(weights.tensor("gamma", with_ones({channels}, dims)).view({channels, 1, 1, 1})),
      scale_(std::sqrt(static_cast<double>(channels))) {}

at::Tensor RmsNorm::operator()(const at::Tensor& x) const {
  const at::Tensor norm = at::linalg_vector_norm(x, 2, at::IntArrayRef{0}, /*keepdim=*/true);  // [1, T, h, W]
  return x.div(norm.clamp_min(1e-12)).mul_(scale_).mul_(gamma_);
}

namespace {

/// silu(norm(x)). The norm makes a new tensor, so the activation works in place.
at::Tensor activated(const RmsNorm& norm, const at::Tensor& x) {
  at::Tensor y = norm(x);
  return at::silu_(y);
}

}  // namespace

ResidualBlock::ResidualBlock(const WeightScope& weights, std::int64_t in, std::int64_t out)
    : first_norm_(weights / "residual" / "0", in, 3),
      second_norm_(weights / "residual" / "3", out, 3),
      first_(weights / "residual" / "2", in, out, {3, 3, 3}),
      second_(weights / "residual" / "6", out, out, {3, 3, 3}) {
  if (in != out) shortcut_.emplace(weights / "shortcut", in, out, 3);
}

at::Tensor ResidualBlock::operator()(const at::Tensor& x, State& state, RowExchange& rows) const {
  at::Tensor y = first_(activated(first_norm_, x), state.first, rows);  // [out, T, h, W]
  y = second_(activated(second_norm_, y), state.second, rows);          // [out, T, h, W]
  return y.add_(shortcut_ ? (*shortcut_)(x) : x);
}

AttentionBlock::AttentionBlock(const WeightScope& weights, std::int64_t channels)
    : channels_(channels),
      norm_(weights / "norm", channels, 2),
      to_qkv_(weights / "to_qkv", channels, 3 * channels, 2),
      proj_(weights / "proj", channels, channels, 2) {}

at::Tensor AttentionBlock::operator()(const at::Tensor& x, State& /*state*/, RowExchange& rows) const {
  const at::Tensor qkv = to_qkv_(norm_(x));  // [3C, T, h, W]
  // [2C, T, H, W]: the whole frame's keys and values in one exchange
  const at::Tensor kv = rows.gather_rows(qkv.narrow(0, channels_, 2 * channels_));
  const auto tokens = [](const at::Tensor& map) {
    return map.flatten(2).permute({1, 2, 0}).unsqueeze(1);  // [C, T, h, W] -> [T, 1, h*W, C]
  };
  const at::Tensor attended =  // [T, 1, h*W, C]
      attend(tokens(qkv.narrow(0, 0, channels_)), tokens(kv.narrow(0, 0, channels_)),
             tokens(kv.narrow(0, channels_, channels_)));
  return proj_(attended.squeeze(1).permute({2, 0, 1}).reshape(x.sizes())).add_(x);
}

Head::Head(const WeightScope& weights, std::int64_t in, std::int64_t out)
    : norm_(weights / "0", in, 3), conv_(weights / "2", in, out, {3, 3, 3}) {}

at::Tensor Head::operator()(const at::Tensor& x, State& state, RowExchange& rows) const {
  return conv_(activated(norm_, x), state, rows);
}

}  // namespace wan::vae
