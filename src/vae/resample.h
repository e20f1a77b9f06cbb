#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "vae/layers.h"

/// Changes of resolution between the levels of the autoencoder (model.md 4.2), (model.md 4.5).
namespace wan::vae {

/// Halves rows and columns. A temporal one then halves the frames after the clip's first.
class Downsample {
 public:
  /// The last spatially reduced frame of the previous chunk: [1, h/2, W/2, C].
  using State = FrameCache;
  /// Reads resample.1.{weight,bias}. A temporal one also reads time_conv.{weight,bias}.
  Downsample(const WeightScope& weights, std::int64_t channels, bool temporal);

  /// [T, h, W, C] -> [T, h/2, W/2, C], or [T/2, h/2, W/2, C] after the first chunk of a temporal one. In a
  /// temporal one the first chunk must have one frame, and later chunks an even number. Throws Error
  /// otherwise.
  at::Tensor operator()(const at::Tensor& x, State& state, RowExchange& rows) const;

  /// Index of the first output frame that a chunk beginning with input frame `first` produces.
  std::int64_t output_frame(std::int64_t first) const { return time_ ? (first + 1) / 2 : first; }
  /// First frame from which the output is constant in time if the input is constant from `frame` on (model.md
  /// 4.7).
  std::int64_t constant_from(std::int64_t frame) const { return time_ ? (frame + 1) / 2 + 1 : frame; }

 private:
  at::Tensor halve_space(const at::Tensor& x, RowExchange& rows) const;
  at::Tensor halve_time(const at::Tensor& x, State& state) const;

  Convolution space_;                // 3 x 3, every second row and column
  std::optional<Convolution> time_;  // 3 frames, every second one; only in a temporal one
};

/// A temporal one first doubles the frames after the clip's first. Then rows and columns are doubled.
class Upsample {
 public:
  struct State {
    bool started = false;  ///< the clip's first frame has passed; the time convolution does not read it
    FrameCache time;
  };
  /// Reads resample.1.{weight,bias}. A temporal one also reads time_conv.{weight,bias}. `out`: C/2 in
  /// Wan 2.1, C in Wan 2.2.
  Upsample(const WeightScope& weights, std::int64_t channels, std::int64_t out, bool temporal);

  /// [T, h, W, C] -> [T, 2h, 2W, out], or [2T, 2h, 2W, out] after the first chunk of a temporal one. The
  /// first chunk of a temporal one must have one frame. Throws Error otherwise.
  at::Tensor operator()(const at::Tensor& x, State& state, RowExchange& rows) const;

 private:
  at::Tensor double_time(const at::Tensor& x, State& state, RowExchange& rows) const;
  at::Tensor double_space(const at::Tensor& x, RowExchange& rows) const;
  at::Tensor double_by_quarters(const at::Tensor& x, const Halo& neighbours) const;
  Upsample(const WeightScope& weights, const StoredConvolution& space);

  Convolution space_;  // 3 x 3, C -> out
  /// For even and odd rows, and in them for even and odd columns: the 2 x 2 convolution of x that gives these
  /// pixels of the result, whose weights are the sums of the taps that read the same pixel of x. Empty where
  /// the doubled x itself is convolved.
  std::vector<Convolution> quarters_;
  std::optional<CausalConv3d> time_conv_;  // C -> 2C
};

}  // namespace wan::vae
