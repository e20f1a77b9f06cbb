#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <optional>

#include "vae/convolution.h"
#include "vae/row_exchange.h"
#include "vae/weight_scope.h"

/// The primitive layers (model.md 4.2). Activations of one chunk of the clip are channels last: [frames,
/// rows, columns, channels] = [T, h, W, C], where h is the number of this part's rows. Weights are const. A
/// layer's memory between chunks is a state of the clip; it is default-constructed before the first chunk. A
/// layer that takes its input by value may write its result into that memory, if nobody else holds it.
namespace wan::vae {

/// L2 normalisation over the channels at every position, times sqrt(C) and gamma. The norm is at least 1e-12;
/// the root contains no epsilon.
class RmsNorm {
 public:
  /// Reads gamma [C, 1, ...] with `dims` trailing ones (3; in the attention 2).
  RmsNorm(const WeightScope& weights, std::int64_t channels, int dims);

  at::Tensor operator()(const at::Tensor& x) const;  ///< [T, h, W, C], a new tensor
  /// silu(norm(x)), rounded to the type of `out`, of the same sizes.
  void activate(const at::Tensor& out, const at::Tensor& x) const;

 private:
  at::Tensor gamma_;  // fp32 [C]
};

/// The last kernel_t - 1 frames of a causal convolution's input, with their halo rows: [2, h + halo, W, C].
struct FrameCache {
  at::Tensor frames;  ///< undefined before the first chunk
};

/// 3-D convolution that does not read later frames: kernel_t - 1 zero frames precede the clip, and the
/// spatial kernel is centred (model.md 4.2). It keeps a cache between chunks (model.md 4.5). It works band by
/// band of rows, so that the windows of a large frame need little memory.
class CausalConv3d {
 public:
  using State = FrameCache;
  /// Reads weight [out, in, kt, kh, kw] and bias [out].
  CausalConv3d(const WeightScope& weights, std::int64_t in, std::int64_t out,
               std::array<std::int64_t, 3> kernel);

  struct Around {
    const RmsNorm* norm = nullptr;  ///< the input's norm and SiLU, written into the convolution's window
    at::Tensor addend;              ///< added to the result, [T, h, W, out]
    at::Tensor into;                ///< where the result goes; may be the addend. Undefined: a new tensor
  };
  /// [T, h, W, in] -> [T, h, W, out]
  at::Tensor operator()(const at::Tensor& x, State& state, RowExchange& rows, const Around& around) const;
  at::Tensor operator()(const at::Tensor& x, State& state, RowExchange& rows) const {
    return (*this)(x, state, rows, {});
  }

  /// First frame from which the output is constant in time if the input is constant from `frame` on
  /// (model.md 4.7).
  std::int64_t constant_from(std::int64_t frame) const { return frame + kernel_[0] - 1; }

 private:
  std::array<std::int64_t, 3> kernel_;  ///< time, rows, columns
  Convolution conv_;
};

/// 1x1 (x1) convolution: a linear map of the channels at every position.
class PointwiseConv {
 public:
  /// Reads weight [out, in, 1, ...] with `dims` kernel dimensions (2 or 3, as stored) and bias [out].
  PointwiseConv(const WeightScope& weights, std::int64_t in, std::int64_t out, int dims);

  at::Tensor operator()(const at::Tensor& x) const { return conv_(x); }  ///< [T, h, W, in] -> [T, h, W, out]
  /// The same, plus `addend`, written into `out`, which may be the addend.
  void add(const at::Tensor& out, const at::Tensor& x, const at::Tensor& addend) const {
    conv_.write(out, x, addend);
  }

 private:
  Convolution conv_;
};

/// shortcut(x) + conv(silu(norm(conv(silu(norm(x))))))
class ResidualBlock {
 public:
  struct State {
    FrameCache first, second;
  };
  ResidualBlock(const WeightScope& weights, std::int64_t in, std::int64_t out);

  /// [T, h, W, in] -> [T, h, W, out]
  at::Tensor operator()(at::Tensor x, State& state, RowExchange& rows) const;

  std::int64_t constant_from(std::int64_t frame) const {
    return second_.constant_from(first_.constant_from(frame));
  }

 private:
  RmsNorm first_norm_, second_norm_;
  CausalConv3d first_, second_;
  std::optional<PointwiseConv> shortcut_;  ///< only if the width changes
};

/// Single-head attention over all positions of a frame, frame by frame. Queries are this part's rows; keys
/// and values are the whole frame's.
class AttentionBlock {
 public:
  struct State {};
  AttentionBlock(const WeightScope& weights, std::int64_t channels);

  /// [T, h, W, C] -> the same
  at::Tensor operator()(at::Tensor x, State& state, RowExchange& rows) const;

  std::int64_t constant_from(std::int64_t frame) const { return frame; }

 private:
  std::int64_t channels_;
  bool tf32_;
  RmsNorm norm_;
  PointwiseConv to_qkv_, proj_;
};

/// The layers before the latent or the pixels: norm, SiLU, causal 3x3x3 convolution. The result is not
/// rounded to 16 bits.
class Head {
 public:
  using State = FrameCache;
  Head(const WeightScope& weights, std::int64_t in, std::int64_t out);

  /// [T, h, W, in] -> [T, h, W, out]
  at::Tensor operator()(const at::Tensor& x, State& state, RowExchange& rows) const;

  std::int64_t constant_from(std::int64_t frame) const { return conv_.constant_from(frame); }

 private:
  RmsNorm norm_;
  CausalConv3d conv_;
};

}  // namespace wan::vae
