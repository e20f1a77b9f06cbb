#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "vae/layers.h"
#include "vae/probe.h"
#include "vae/resample.h"
#include "vae/vae_config.h"

namespace wan::vae {

/// A decoder's memory of a clip between latent frames. Decoder::start() makes it.
struct DecoderState {
  struct Level {
    std::vector<ResidualBlock::State> blocks;
    Upsample::State up;
  };
  FrameCache conv1;
  ResidualBlock::State middle_first, middle_last;
  AttentionBlock::State attention;
  std::vector<Level> levels;  ///< from the latent's resolution to the pixels'
  FrameCache head;
  Probe probe;  ///< may be empty
};

/// Latent to pixels, one latent frame at a time (model.md 4.4).
class Decoder {
 public:
  Decoder(const WeightScope& weights, const VaeConfig& config);

  DecoderState start() const;

  /// [1, h8, w8, latent_channels] -> [T, 8 h8, 8 w8, patch_channels], not rounded. T is 1 for the clip's
  /// first frame and 4 for every other frame. The result is not clamped.
  at::Tensor operator()(const at::Tensor& latent, DecoderState& state, RowExchange& rows) const;

 private:
  struct Level {
    std::vector<ResidualBlock> blocks;
    std::optional<Upsample> up;
  };
  at::Tensor run_level(int level, at::Tensor in, DecoderState& state, RowExchange& rows) const;

  std::optional<at::ScalarType> rounded_;
  CausalConv3d conv1_;
  bool has_shortcuts_;
  ResidualBlock middle_first_;
  AttentionBlock attention_;
  ResidualBlock middle_last_;
  std::vector<Level> levels_;
  Head head_;
};

}  // namespace wan::vae
