#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "vae/layers.h"
#include "vae/probe.h"
#include "vae/resample.h"
#include "vae/vae_config.h"

namespace wan::vae {

/// Value of `constant_from` for a clip that never becomes constant.
inline constexpr std::int64_t never_constant = std::numeric_limits<std::int64_t>::max() / 2;

/// Consecutive frames of a clip and their position in the clip.
struct Chunk {
  at::Tensor frames;       ///< [T, h, W, C]
  std::int64_t first = 0;  ///< index of the first frame in the clip, counted at this level's frame rate
  /// All frames of the clip from this index on are equal.
  std::int64_t constant_from = never_constant;
};

/// A layer's state in one clip. Some frames after the input has become constant, the layer's output no longer
/// changes from frame to frame (model.md 4.7). From then on, one frame of the output is enough.
template <typename Layer>
struct LayerProgress {
  // Clang 14 needs the typename.
  typename Layer::State state;  // NOLINT(readability-redundant-typename)
  at::Tensor constant_frame;    ///< [1, h, W, C] once reached, else undefined
};

/// An encoder's memory of a clip between chunks. Encoder::start() makes it.
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
  Probe probe;  ///< may be empty
};

/// Pixels to latent, one chunk at a time (model.md 4.3).
class Encoder {
 public:
  Encoder(const WeightScope& weights, const VaeConfig& config);

  EncoderState start() const;

  /// Encodes one chunk of pixels [T, h, W, patch_channels] to [1, h/8, W/8, 2 * latent_channels] (mean and
  /// log variance), not rounded. T is 1 for the first chunk and 4 for every other chunk. Layers whose output
  /// is already constant do not compute.
  at::Tensor operator()(const Chunk& pixels, EncoderState& state, RowExchange& rows) const;

 private:
  struct Level {
    std::vector<ResidualBlock> blocks;
    std::optional<Downsample> down;
  };
  Chunk run_level(int level, Chunk in, EncoderState& state, RowExchange& rows) const;

  std::optional<at::ScalarType> rounded_;
  CausalConv3d conv1_;
  bool has_shortcuts_;
  std::vector<Level> levels_;
  ResidualBlock middle_first_;
  AttentionBlock attention_;
  ResidualBlock middle_last_;
  Head head_;
};

}  // namespace wan::vae
