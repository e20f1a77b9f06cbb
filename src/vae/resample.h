#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>

#include "vae/layers.h"

/// Changes of resolution between the levels of the autoencoder (model.md 4.2), (model.md 4.5).
namespace wan::vae {

/// Halves rows and columns, then, in a temporal one, the frames after the clip's first.
class Downsample {
 public:
  /// The last spatially reduced frame of the previous chunk: [C, 1, h/2, W/2].
  using State = FrameCache;
  /// Reads resample.1.{weight,bias}; a temporal one also time_conv.{weight,bias}.
  Downsample(const WeightScope& weights, std::int64_t channels, bool temporal);

  /// [C, T, h, W] -> [C, T, h/2, W/2], or [C, T/2, h/2, W/2] after the first chunk of a temporal one. There
  /// the first chunk must have one frame and the others an even number; throws Error.
  at::Tensor operator()(const at::Tensor& x, State& state, RowExchange& rows) const;

  /// Index in the output of the first frame made from a chunk that begins with input frame `first`.
  std::int64_t output_frame(std::int64_t first) const {
    return time_weight_.defined() ? (first + 1) / 2 : first;
  }
  /// First frame from which the output is constant in time if the input is constant from `frame` on
  /// (model.md 4.7).
  std::int64_t constant_from(std::int64_t frame) const {
    return time_weight_.defined() ? (frame + 1) / 2 + 1 : frame;
  }

 private:
  at::Tensor halve_space(const at::Tensor& x, RowExchange& rows) const;
  at::Tensor halve_time(const at::Tensor& x, State& state) const;

  at::Tensor weight_, bias_;            // [C, C, 3, 3], [C]
  at::Tensor time_weight_, time_bias_;  // [C, C, 3, 1, 1], [C]; undefined in a spatial one
};

/// In a temporal one doubles the frames after the clip's first; then doubles rows and columns.
class Upsample {
 public:
  struct State {
    bool started =
        false;  ///< the clip's first frame has passed; it is no part of the time convolution's input
    FrameCache time;
  };
  /// Reads resample.1.{weight,bias}; a temporal one also time_conv.{weight,bias}.
  Upsample(const WeightScope& weights, std::int64_t channels, bool temporal);

  /// [C, T, h, W] -> [C/2, T, 2h, 2W], or [C/2, 2T, 2h, 2W] after the first chunk of a temporal one, whose
  /// first chunk must have one frame; throws Error.
  at::Tensor operator()(const at::Tensor& x, State& state, RowExchange& rows) const;

 private:
  at::Tensor double_time(const at::Tensor& x, State& state, RowExchange& rows) const;
  at::Tensor double_space(const at::Tensor& x, RowExchange& rows) const;

  at::Tensor weight_, bias_;               // [C/2, C, 3, 3], [C/2]
  std::optional<CausalConv3d> time_conv_;  // C -> 2C
};

}  // namespace wan::vae
