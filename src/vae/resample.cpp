#include "vae/resample.h"

#include "core/check.h"

namespace wan::vae {

Downsample::Downsample(const WeightScope& weights, std::int64_t channels, bool temporal)
    : space_(weights / "resample" / "1", {channels, channels, 3, 3},
             {.stride = {1, 2, 2}, .after = {0, 0, 1}}) {
  if (!temporal) return;
  time_.emplace(weights / "time_conv", std::vector<std::int64_t>{channels, channels, 3, 1, 1},
                kernels::ConvolutionShape{.stride = {2, 1, 1}});
}

at::Tensor Downsample::halve_space(const at::Tensor& x, RowExchange& rows) const {
  // Output row i reads rows 2i, 2i+1, 2i+2: one row below and one column to the right, nothing above or left.
  const std::int64_t height = x.size(1);
  const at::Tensor below = rows.exchange_halo(x, 0, 1).below;
  const at::Tensor out =
      at::empty({x.size(0), height / 2, x.size(2) / 2, x.size(3)}, x.options());  // [T, h/2, W/2, C]
  if (height > 2) space_.write(out.narrow(1, 0, height / 2 - 1), x.narrow(1, 0, height - 1));
  const at::Tensor last = x.narrow(1, height - 2, 2);
  const at::Tensor border = below.defined() ? below : at::zeros_like(last.narrow(1, 0, 1));
  space_.write(out.narrow(1, height / 2 - 1, 1), at::cat({last, border}, 1));
  return out;
}

at::Tensor Downsample::halve_time(const at::Tensor& x, State& state) const {
  const std::int64_t count = x.size(0);
  const at::Tensor last = x.narrow(0, count - 1, 1).clone(at::MemoryFormat::Contiguous);  // [1, h, W, C]
  if (!state.frames.defined()) {
    WAN_CHECK(count == 1, "the clip's first chunk has {} frames instead of 1", count);
    state.frames = last;
    return x;
  }
  WAN_CHECK(count % 2 == 0, "a later chunk has {} frames, but the number must be even", count);
  const at::Tensor window = at::cat({state.frames, x}, 0);  // [1 + T, h, W, C]
  state.frames = last;
  return (*time_)(window);  // [T/2, h, W, C]
}

at::Tensor Downsample::operator()(const at::Tensor& x, State& state, RowExchange& rows) const {
  const at::Tensor reduced = halve_space(x, rows);
  return time_ ? halve_time(reduced, state) : reduced;
}

namespace {

/// The sums of the three taps of an axis that read the same pixel before it was doubled. Even results read
/// pixels i - 1, i and i, odd ones i, i and i + 1.
at::Tensor fold_taps(const at::Tensor& weight, std::int64_t axis, bool odd) {
  const auto tap = [&](std::int64_t index) { return weight.select(axis, index); };
  return odd ? at::stack({tap(0) + tap(1), tap(2)}, axis) : at::stack({tap(0), tap(1) + tap(2)}, axis);
}

}  // namespace

Upsample::Upsample(const WeightScope& weights, const StoredConvolution& space)
    : space_(space, weights.arithmetic(), {.before = {0, 0, 1}, .after = {0, 0, 1}}) {
  if (!space_.is_on_tensor_cores()) return;
  const at::Tensor wide = space.weight.to(at::kDouble);  // [out, in, 3, 3]
  for (const bool odd_row : {false, true}) {
    for (const bool odd_column : {false, true}) {
      const at::Tensor folded = fold_taps(fold_taps(wide, 2, odd_row), 3, odd_column);  // [out, in, 2, 2]
      const std::int64_t after = odd_column ? 1 : 0;
      quarters_.emplace_back(
          StoredConvolution{.weight = folded.to(space.weight.scalar_type()), .bias = space.bias},
          weights.arithmetic(),
          kernels::ConvolutionShape{.before = {0, 0, 1 - after}, .after = {0, 0, after}});
    }
  }
}

Upsample::Upsample(const WeightScope& weights, std::int64_t channels, std::int64_t out, bool temporal)
    : Upsample(weights, read_convolution(weights / "resample" / "1", {out, channels, 3, 3})) {
  if (temporal) {
    time_conv_.emplace(weights / "time_conv", channels, 2 * channels, std::array<std::int64_t, 3>{3, 1, 1});
  }
}

at::Tensor Upsample::double_time(const at::Tensor& x, State& state, RowExchange& rows) const {
  if (!state.started) {
    WAN_CHECK(x.size(0) == 1, "the clip's first chunk has {} frames instead of 1", x.size(0));
    state.started = true;
    return x;
  }
  const at::Tensor pairs = (*time_conv_)(x, state.time, rows);  // [T, h, W, 2C]
  // The first C channels of frame t are frame 2t of the result, the others frame 2t + 1.
  return pairs.unflatten(3, {2, x.size(3)}).permute({0, 3, 1, 2, 4}).flatten(0, 1);  // [2T, h, W, C]
}

namespace {

/// Writes each row of `source` [T, r, W, C] `times` times and each column twice into `target`
/// [T, times r, 2W, C].
void repeat_into(const at::Tensor& target, const at::Tensor& source, std::int64_t times) {
  target.unflatten(2, {-1, 2})
      .unflatten(1, {-1, times})  // [T, r, times, W, 2, C]
      .copy_(source.unsqueeze(2).unsqueeze(4));
}

}  // namespace

at::Tensor Upsample::double_space(const at::Tensor& x, RowExchange& rows) const {
  const std::int64_t frames = x.size(0);
  const std::int64_t height = x.size(1);
  const std::int64_t width = 2 * x.size(2);
  // The halo is exchanged before the repetition, one row on each side. After the repetition the convolution
  // needs only half of it.
  const Halo neighbours = rows.exchange_halo(x, 1, 1);
  if (!quarters_.empty()) return double_by_quarters(x, neighbours);
  const at::Tensor out = at::empty({frames, 2 * height, width, space_.out()}, x.options());
  for (const Band& band : space_.bands_of(height, 2 * frames, width)) {
    const at::Tensor window =  // [T, 1 + 2 band + 1, 2W, C]
        at::empty({frames, 2 * band.count + 2, width, space_.in()}, x.options());
    const auto put_one = [&](std::int64_t row, std::int64_t source, const at::Tensor& outside) {
      const at::Tensor target = window.narrow(1, row, 1);
      const bool is_own = source >= 0 && source < height;
      if (!is_own && !outside.defined()) {
        target.zero_();
      } else {
        repeat_into(target, is_own ? x.narrow(1, source, 1) : outside, 1);
      }
    };
    put_one(0, band.first - 1, neighbours.above);
    repeat_into(window.narrow(1, 1, 2 * band.count), x.narrow(1, band.first, band.count), 2);
    put_one(2 * band.count + 1, band.end(), neighbours.below);
    space_.write(out.narrow(1, 2 * band.first, 2 * band.count), window);
  }
  return out;
}

at::Tensor Upsample::double_by_quarters(const at::Tensor& x, const Halo& neighbours) const {
  const std::int64_t height = x.size(1);
  const std::int64_t above = neighbours.above.defined() ? 1 : 0;
  const std::int64_t below = neighbours.below.defined() ? 1 : 0;
  std::vector<at::Tensor> parts{x};
  if (above > 0) parts.insert(parts.begin(), neighbours.above);
  if (below > 0) parts.push_back(neighbours.below);
  const at::Tensor source = parts.size() > 1 ? at::cat(parts, 1) : x;  // [T, above + h + below, W, C]
  const at::Tensor out = at::empty({x.size(0), 2 * height, 2 * x.size(2), space_.out()}, x.options());
  for (std::int64_t row = 0; row < 2; ++row) {
    // Even rows also read the row above, odd ones the row below. Zeros stand where the image ends.
    const at::Tensor read =
        row == 0 ? source.narrow(1, 0, above + height) : source.narrow(1, above, height + below);
    for (std::int64_t column = 0; column < 2; ++column) {
      const at::Tensor quarter = out.slice(1, row, std::nullopt, 2).slice(2, column, std::nullopt, 2);
      quarters_[2 * row + column].write_bordered(quarter, read, row == 0 ? 1 - above : 0,
                                                 row == 1 ? 1 - below : 0);
    }
  }
  return out;
}

at::Tensor Upsample::operator()(const at::Tensor& x, State& state, RowExchange& rows) const {
  return double_space(time_conv_ ? double_time(x, state, rows) : x, rows);
}

}  // namespace wan::vae
