#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "vae/layers.h"
#include "vae/resample.h"
#include "vae/vae_config.h"

namespace wan::vae {

/// `constant_from` of a clip that goes on changing.
inline constexpr std::int64_t never_constant = std::numeric_limits<std::int64_t>::max() / 2;

/// Consecutive frames of a clip and where in the clip they stand.
struct Chunk {
  at::Tensor frames;       ///< [C, T, h, W]
  std::int64_t first = 0;  ///< index in the clip of the first of them, at their own frame rate
  /// All frames of the clip from this index on are equal.
  std::int64_t constant_from = never_constant;
};

/// A layer's state in one clip. Once the layer's output no longer changes from frame to frame, which it does
/// some frames after the input has become constant (model.md 4.7), all that is needed is one frame of it.
template <typename Layer>
struct LayerProgress {
  Layer::State state;
  at::Tensor constant_frame;  ///< [C, 1, h, W] once reached, else undefined
};

/// What an encoder remembers of a clip between chunks; Encoder::start() makes it.
struct EncoderState {
  struct Level {
    std::vector<LayerProgress<ResidualBlock>> blocks;
    LayerProgress<Downsample> down;
  };
  LayerProgress<CausalConv3d> conv1;
  std::vector<Level> levels;
  LayerProgress<ResidualBlock> middle_first, middle_last;
  LayerProgress<AttentionBlock> attention;
  LayerProgress<Head> head;
};

/// Pixels to latent, one chunk at a time (model.md 4.3).
class Encoder {
 public:
  Encoder(const WeightScope& weights, const VaeConfig& config);

  EncoderState start() const;

  /// One chunk of pixels [3, T, h, W], T being 1 for the first and 4 for every other, to
  /// [2 * latent_channels, 1, h/8, W/8] (mean and log variance). Layers whose output is constant by then do
  /// not compute.
  at::Tensor operator()(const Chunk& pixels, EncoderState& state, RowExchange& rows) const;

 private:
  struct Level {
    std::vector<ResidualBlock> blocks;
    std::optional<Downsample> down;
  };
  CausalConv3d conv1_;
  std::vector<Level> levels_;
  ResidualBlock middle_first_;
  AttentionBlock attention_;
  ResidualBlock middle_last_;
  Head head_;
};

}  // namespace wan::vae
