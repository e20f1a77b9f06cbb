#include "vae/resample.h"

#include "core/check.h"
#include "vae/operations.h"

namespace wan::vae {

Downsample::Downsample(const WeightScope& weights, std::int64_t channels, bool temporal)
    : weight_((weights / "resample" / "1").tensor("weight", {channels, channels, 3, 3})),
      bias_((weights / "resample" / "1").tensor("bias", {channels})) {
  if (!temporal) return;
  time_weight_ = (weights / "time_conv").tensor("weight", {channels, channels, 3, 1, 1});
  time_bias_ = (weights / "time_conv").tensor("bias", {channels});
}

at::Tensor Downsample::halve_space(const at::Tensor& x, RowExchange& rows) const {
  const at::Tensor frames = x.transpose(0, 1);  // [T, C, h, W]
  const std::int64_t height = x.size(2);
  const std::int64_t width = x.size(3);
  // Output row i reads rows 2i, 2i+1, 2i+2: one row below and one column to the right, nothing above or left.
  at::Tensor padded;  // [T, C, h + 1, W + 1]
  if (rows.alone()) {
    padded = at::constant_pad_nd(frames, {0, 1, 0, 1});
  } else {
    padded = at::empty({x.size(1), x.size(0), height + 1, width + 1}, x.options());
    padded.narrow(3, width, 1).zero_();
    padded.narrow(2, 0, height).narrow(3, 0, width).copy_(frames);
    rows.fill_halo(padded.narrow(3, 0, width).transpose(0, 1), 0, 1);
  }
  return convolve(padded, weight_, bias_, {2, 2}, {0, 0}).transpose(0, 1);  // [C, T, h/2, W/2]
}

at::Tensor Downsample::halve_time(const at::Tensor& x, State& state) const {
  const std::int64_t count = x.size(1);
  const at::Tensor last = x.narrow(1, count - 1, 1).clone(at::MemoryFormat::Contiguous);  // [C, 1, h, W]
  if (!state.frames.defined()) {
    WAN_CHECK(count == 1, "the clip's first chunk has {} frames instead of 1", count);
    state.frames = last;
    return x;
  }
  WAN_CHECK(count % 2 == 0, "a later chunk has {} frames, but the number must be even", count);
  const at::Tensor window = at::cat({state.frames, x}, 1);  // [C, 1 + T, h, W]
  state.frames = last;
  return convolve(window.unsqueeze(0), time_weight_, time_bias_, {2, 1, 1}, {0, 0, 0})
      .squeeze(0);  // [C, T/2, h, W]
}

at::Tensor Downsample::operator()(const at::Tensor& x, State& state, RowExchange& rows) const {
  const at::Tensor reduced = halve_space(x, rows);
  return time_weight_.defined() ? halve_time(reduced, state) : reduced;
}

Upsample::Upsample(const WeightScope& weights, std::int64_t channels, std::int64_t out, bool temporal)
    : weight_((weights / "resample" / "1").tensor("weight", {out, channels, 3, 3})),
      bias_((weights / "resample" / "1").tensor("bias", {out})) {
  if (temporal) {
    time_conv_.emplace(weights / "time_conv", channels, 2 * channels, std::array<std::int64_t, 3>{3, 1, 1});
  }
}

at::Tensor Upsample::double_time(const at::Tensor& x, State& state, RowExchange& rows) const {
  if (!state.started) {
    WAN_CHECK(x.size(1) == 1, "the clip's first chunk has {} frames instead of 1", x.size(1));
    state.started = true;
    return x;
  }
  const at::Tensor pairs = (*time_conv_)(x, state.time, rows);  // [2C, T, h, W]
  // The first C channels of frame t are frame 2t of the result, the others frame 2t + 1.
  return pairs.unflatten(0, {2, x.size(0)}).permute({1, 2, 0, 3, 4}).flatten(1, 2);  // [C, 2T, h, W]
}

at::Tensor Upsample::double_space(const at::Tensor& x, RowExchange& rows) const {
  const std::int64_t height = x.size(2);
  const std::int64_t width = x.size(3);
  const at::Tensor frames = x.transpose(0, 1);  // [T, C, h, W]
  if (rows.alone()) {
    const at::Tensor repeated = at::upsample_nearest2d(frames, {2 * height, 2 * width});
    return convolve(repeated, weight_, bias_, {1, 1}, {1, 1}).transpose(0, 1);  // [out, T, 2h, 2W]
  }
  // The halo is exchanged before the repetition, one row on each side. After the repetition the convolution
  // needs only half of it.
  const at::Tensor padded = at::empty({x.size(1), x.size(0), height + 2, width}, x.options());
  padded.narrow(2, 1, height).copy_(frames);
  rows.fill_halo(padded.transpose(0, 1), 1, 1);
  const at::Tensor repeated =  // [T, C, 2h + 2, 2W]
      at::upsample_nearest2d(padded, {2 * height + 4, 2 * width}).narrow(2, 1, 2 * height + 2);
  return convolve(repeated, weight_, bias_, {1, 1}, {0, 1}).transpose(0, 1);  // [out, T, 2h, 2W]
}

at::Tensor Upsample::operator()(const at::Tensor& x, State& state, RowExchange& rows) const {
  return double_space(time_conv_ ? double_time(x, state, rows) : x, rows);
}

}  // namespace wan::vae
