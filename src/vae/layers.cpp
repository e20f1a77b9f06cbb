#include "vae/layers.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/check.h"
#include "vae/operations.h"

namespace wan::vae {
namespace {

std::vector<std::int64_t> with_ones(std::vector<std::int64_t> shape, int ones) {
  shape.insert(shape.end(), ones, 1);
  return shape;
}

/// Whether a result may be written over `x`: nobody else holds it or a part of it.
bool is_free(const at::Tensor& x) {
  return x.use_count() == 1 && x.storage().use_count() == 1 && x.is_contiguous();
}

/// The rows of `band` and `halo` more on each side, as a convolution's window needs them.
void fill_rows(const at::Tensor& target /* [T, halo + band + halo, W, C] */, const at::Tensor& x,
               const Halo& neighbours, const Band& band, std::int64_t halo, const RmsNorm* norm) {
  const auto put = [&](std::int64_t row, const at::Tensor& source) {
    const at::Tensor part = target.narrow(1, row, source.size(1));
    norm == nullptr ? void(part.copy_(source)) : norm->activate(part, source);
  };
  const std::int64_t first = std::max<std::int64_t>(0, band.first - halo);
  const std::int64_t end = std::min(x.size(1), band.end() + halo);
  const std::int64_t above = first - (band.first - halo);  // rows above the part's own
  const std::int64_t below = band.end() + halo - end;
  if (above > 0)
    neighbours.above.defined() ? put(0, neighbours.above) : void(target.narrow(1, 0, above).zero_());
  put(above, x.narrow(1, first, end - first));
  const std::int64_t last = target.size(1) - below;
  if (below > 0)
    neighbours.below.defined() ? put(last, neighbours.below) : void(target.narrow(1, last, below).zero_());
}

/// The halo of some frames.
Halo of_frames(const Halo& halo, std::int64_t first, std::int64_t count) {
  const auto narrowed = [&](const at::Tensor& rows) {
    return rows.defined() ? rows.narrow(0, first, count) : rows;
  };
  return {.above = narrowed(halo.above), .below = narrowed(halo.below)};
}

}  // namespace

RmsNorm::RmsNorm(const WeightScope& weights, std::int64_t channels, int dims)
    : gamma_(weights.tensor("gamma", with_ones({channels}, dims)).view({channels}).clone()) {}

at::Tensor RmsNorm::operator()(const at::Tensor& x) const {
  const at::Tensor out = at::empty(x.sizes(), x.options());
  kernels::rms_norm_silu_out(out, x, gamma_, /*silu=*/false);
  return out;
}

void RmsNorm::activate(const at::Tensor& out, const at::Tensor& x) const {
  kernels::rms_norm_silu_out(out, x, gamma_);
}

CausalConv3d::CausalConv3d(const WeightScope& weights, std::int64_t in, std::int64_t out,
                           std::array<std::int64_t, 3> kernel)
    : kernel_(kernel),
      conv_(weights, {out, in, kernel[0], kernel[1], kernel[2]},
            {.before = {0, 0, kernel[2] / 2}, .after = {0, 0, kernel[2] / 2}}) {}

at::Tensor CausalConv3d::operator()(const at::Tensor& x, State& state, RowExchange& rows,
                                    const Around& around) const {
  const std::int64_t past = kernel_[0] - 1;
  const std::int64_t halo = kernel_[1] / 2;
  const std::int64_t frames = x.size(0);
  const std::int64_t height = x.size(1);
  const std::int64_t width = x.size(2);
  const at::TensorOptions options = conv_.options();
  const Halo neighbours = halo > 0 ? rows.exchange_halo(x, halo, halo) : Halo{};
  const auto fill = [&](const at::Tensor& target, std::int64_t first, const Band& band) {
    fill_rows(target, x.narrow(0, first, target.size(0)), of_frames(neighbours, first, target.size(0)), band,
              halo, around.norm);
  };
  at::Tensor out = around.into.defined() ? around.into  // [T, h, W, out]
                                         : at::empty({frames, height, width, conv_.out()}, options);
  if (past > 0 && !state.frames.defined())
    state.frames = at::zeros({past, height + 2 * halo, width, conv_.in()}, options);
  const std::int64_t kept = std::min(past, frames);  // frames that the next chunk reads, too
  at::Tensor last;                                   // [past, halo + h + halo, W, in]
  if (past > 0) {
    last = at::empty(state.frames.sizes(), options);
    last.narrow(0, 0, past - kept).copy_(state.frames.narrow(0, kept, past - kept));
    fill(last.narrow(0, past - kept, kept), frames - kept, {0, height});
  }
  for (const Band& band : conv_.bands_of(height, past + frames, width)) {
    const std::int64_t window_rows = band.count + 2 * halo;
    std::vector<at::Tensor> pieces;  // [..., window_rows, W, in] each
    if (past > 0) pieces.push_back(state.frames.narrow(1, band.first, window_rows));
    if (frames > kept) {
      pieces.push_back(at::empty({frames - kept, window_rows, width, conv_.in()}, options));
      fill(pieces.back(), 0, band);
    }
    if (past > 0) pieces.push_back(last.narrow(0, past - kept, kept).narrow(1, band.first, window_rows));
    conv_.write(out.narrow(1, band.first, band.count), pieces,
                around.addend.defined() ? around.addend.narrow(1, band.first, band.count) : at::Tensor());
  }
  state.frames = last;
  return out;
}

PointwiseConv::PointwiseConv(const WeightScope& weights, std::int64_t in, std::int64_t out, int dims)
    : conv_(weights, with_ones({out, in}, dims), {}) {}

ResidualBlock::ResidualBlock(const WeightScope& weights, std::int64_t in, std::int64_t out)
    : first_norm_(weights / "residual" / "0", in, 3),
      second_norm_(weights / "residual" / "3", out, 3),
      first_(weights / "residual" / "2", in, out, {3, 3, 3}),
      second_(weights / "residual" / "6", out, out, {3, 3, 3}) {
  if (in != out) shortcut_.emplace(weights / "shortcut", in, out, 3);
}

at::Tensor ResidualBlock::operator()(at::Tensor x, State& state, RowExchange& rows) const {
  const at::Tensor y = first_(x, state.first, rows, {.norm = &first_norm_, .addend = {}, .into = {}});
  if (shortcut_) x = (*shortcut_)(x);
  const at::Tensor into = is_free(x) ? x : at::Tensor();
  return second_(y, state.second, rows, {.norm = &second_norm_, .addend = x, .into = into});
}

AttentionBlock::AttentionBlock(const WeightScope& weights, std::int64_t channels)
    : channels_(channels),
      tf32_(weights.arithmetic().tf32),
      norm_(weights / "norm", channels, 2),
      to_qkv_(weights / "to_qkv", channels, 3 * channels, 2),
      proj_(weights / "proj", channels, channels, 2) {}

// `x` by value: it is written over if nobody else holds it.
// NOLINTNEXTLINE(performance-unnecessary-value-param)
at::Tensor AttentionBlock::operator()(at::Tensor x, State& /*state*/, RowExchange& rows) const {
  const at::Tensor qkv = to_qkv_(norm_(x));  // [T, h, W, 3C]
  // [T, H, W, 2C]: the whole frame's keys and values in one exchange
  const at::Tensor kv = rows.gather_rows(qkv.narrow(3, channels_, 2 * channels_));
  const at::Tensor attended = attend(qkv.narrow(3, 0, channels_), kv.narrow(3, 0, channels_),
                                     kv.narrow(3, channels_, channels_), tf32_);  // [T, h, W, C]
  const at::Tensor out = is_free(x) ? x : at::empty(x.sizes(), x.options());
  proj_.add(out, attended, x);
  return out;
}

Head::Head(const WeightScope& weights, std::int64_t in, std::int64_t out)
    : norm_(weights / "0", in, 3), conv_(weights.unrounded() / "2", in, out, {3, 3, 3}) {}

at::Tensor Head::operator()(const at::Tensor& x, State& state, RowExchange& rows) const {
  return conv_(x, state, rows, {.norm = &norm_, .addend = {}, .into = {}});
}

}  // namespace wan::vae
