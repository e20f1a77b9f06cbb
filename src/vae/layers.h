#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <optional>

#include "vae/row_exchange.h"
#include "vae/weight_scope.h"

/// The primitive layers (model.md 4.2). Activations of one chunk of the clip are [channels, frames, rows,
/// columns] = [C, T, h, W], where h is the number of this part's rows. Weights are const. A layer's memory
/// between chunks is a state of the clip; it is default-constructed before the first chunk.
namespace wan::vae {

/// The last frames (at most two) of a causal convolution's input, with their halo rows: [C, 0..2, h + halo,
/// W].
struct FrameCache {
  at::Tensor frames;  ///< undefined before the first chunk
};

/// 3-D convolution that does not read later frames: kernel_t - 1 zero frames precede the clip, and the
/// spatial kernel is centred (model.md 4.2). It keeps a cache between chunks (model.md 4.5).
class CausalConv3d {
 public:
  using State = FrameCache;
  /// Reads weight [out, in, kt, kh, kw] and bias [out].
  CausalConv3d(const WeightScope& weights, std::int64_t in, std::int64_t out,
               std::array<std::int64_t, 3> kernel);

  /// [in, T, h, W] -> [out, T, h, W]
  at::Tensor operator()(const at::Tensor& x, State& state, RowExchange& rows) const;

  /// First frame from which the output is constant in time if the input is constant from `frame` on
  /// (model.md 4.7).
  std::int64_t constant_from(std::int64_t frame) const { return frame + kernel_[0] - 1; }

 private:
  at::Tensor window(const at::Tensor& x, const State& state, RowExchange& rows) const;

  std::array<std::int64_t, 3> kernel_;  ///< time, rows, columns
  at::Tensor weight_, bias_;
};

/// 1x1 (x1) convolution: a linear map of the channels at every position.
class PointwiseConv {
 public:
  /// Reads weight [out, in, 1, ...] with `dims` kernel dimensions (2 or 3, as stored) and bias [out].
  PointwiseConv(const WeightScope& weights, std::int64_t in, std::int64_t out, int dims);

  at::Tensor operator()(const at::Tensor& x) const;  ///< [in, T, h, W] -> [out, T, h, W]

 private:
  at::Tensor weight_;  // [out, in, 1, 1, 1]
  at::Tensor bias_;    // [out]
};

/// L2 normalisation over the channels at every position, times sqrt(C) and gamma. The norm is at least 1e-12;
/// the root contains no epsilon.
class RmsNorm {
 public:
  /// Reads gamma [C, 1, ...] with `dims` trailing ones (3; in the attention 2).
  RmsNorm(const WeightScope& weights, std::int64_t channels, int dims);

  at::Tensor operator()(const at::Tensor& x) const;  ///< [C, T, h, W], a new tensor

 private:
  at::Tensor gamma_;  // [C, 1, 1, 1]
  double scale_;      ///< sqrt(C)
};

/// shortcut(x) + conv(silu(norm(conv(silu(norm(x))))))
class ResidualBlock {
 public:
  struct State {
    FrameCache first, second;
  };
  ResidualBlock(const WeightScope& weights, std::int64_t in, std::int64_t out);

  /// [in, T, h, W] -> [out, T, h, W]
  at::Tensor operator()(const at::Tensor& x, State& state, RowExchange& rows) const;

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

  /// [C, T, h, W] -> the same
  at::Tensor operator()(const at::Tensor& x, State& state, RowExchange& rows) const;

  std::int64_t constant_from(std::int64_t frame) const { return frame; }

 private:
  std::int64_t channels_;
  RmsNorm norm_;
  PointwiseConv to_qkv_, proj_;
};

/// The layers before the latent or the pixels: norm, SiLU, causal 3x3x3 convolution.
class Head {
 public:
  using State = FrameCache;
  Head(const WeightScope& weights, std::int64_t in, std::int64_t out);

  /// [in, T, h, W] -> [out, T, h, W]
  at::Tensor operator()(const at::Tensor& x, State& state, RowExchange& rows) const;

  std::int64_t constant_from(std::int64_t frame) const { return conv_.constant_from(frame); }

 private:
  RmsNorm norm_;
  CausalConv3d conv_;
};

}  // namespace wan::vae
