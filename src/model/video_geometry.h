#pragma once

#include <array>
#include <cstdint>

#include "wan/request.h"

namespace wan::model {

/// The token grid of a video: frames x rows x columns, tokens in that order (model.md 5.2).
struct TokenGrid {
  std::int64_t frames = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t tokens() const { return frames * rows * columns; }
  bool operator==(const TokenGrid&) const = default;
};

/// The relation between a model's pixels, latents and tokens (model.md 4.1), (model.md 5.2). Sizes that do
/// not divide evenly are rounded down.
struct VideoGeometry {
  std::int64_t latent_channels = 0;
  int frames_per_latent = 0;  ///< pixel frames of one latent frame; the first latent frame has one
  int pixels_per_latent = 0;  ///< in both directions
  int latents_per_token = 0;  ///< in both directions; in time a token has one latent frame

  /// Side of a token in pixels. The sides of a video are multiples of it.
  constexpr int pixels_per_token() const { return pixels_per_latent * latents_per_token; }
  /// Features of a token with this many channels.
  constexpr std::int64_t token_features(std::int64_t channels) const {
    return channels * latents_per_token * latents_per_token;
  }

  /// Latent frames of `frame_num` pixel frames.
  std::int64_t latent_frames(int frame_num) const;
  /// [channels, frames, height, width] of a latent with this many channels.
  std::array<std::int64_t, 4> latent_shape(std::int64_t channels, int frame_num, PixelSize size) const;
  TokenGrid token_grid(int frame_num, PixelSize size) const;
  /// Pixels of one frame of a video with this grid.
  std::int64_t frame_pixels(const TokenGrid& grid) const;
  std::int64_t frame_num(const TokenGrid& grid) const;

  bool operator==(const VideoGeometry&) const = default;
};

}  // namespace wan::model
