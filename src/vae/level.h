#pragma once

#include <ATen/ATen.h>

#include <string>
#include <utility>

#include "vae/vae_config.h"
#include "vae/weight_scope.h"

namespace wan::vae {

/// The names of a level's layers in a checkpoint. Wan 2.1 numbers the layers of all levels in one sequence
/// ("downsamples.3"). Wan 2.2 numbers levels, and the layers of each ("downsamples.1.downsamples.0").
class LayerNames {
 public:
  LayerNames(WeightScope weights, std::string list, const VaeConfig& config)
      : weights_(std::move(weights)), list_(std::move(list)), is_nested_(config.family == Family::wan22) {}

  void begin_level() {
    ++level_;
    if (is_nested_) layer_ = 0;
  }
  /// The scope of the next layer.
  WeightScope next() {
    const WeightScope levels = weights_ / list_;
    return (is_nested_ ? levels / std::to_string(level_) / list_ : levels) / std::to_string(layer_++);
  }

 private:
  WeightScope weights_;
  std::string list_;
  bool is_nested_;
  int level_ = -1;
  int layer_ = 0;
};

// The paths around a level without parameters (model.md 4.9). Both act on each part's own rows.

struct DownShortcut {
  bool temporal = false;     ///< the level halves time
  bool starts_clip = false;  ///< the chunk holds the clip's first frame, alone
};

/// Means over 2 x 2 positions: [T, h, W, C] -> [T, h/2, W/2, C]. A temporal one puts a zero frame before the
/// clip and makes two channels of each pair of frames: [T, h, W, C] -> [(T+1)/2, h/2, W/2, 2C].
at::Tensor down_shortcut(const at::Tensor& x, const DownShortcut& level);

/// Adds the repeated input `in` [T, h, W, C] of an up-sampling level to the output of its layers, in place.
/// `out` is [T or 2T, 2h, 2W, C], or [T, 2h, 2W, C/2]. In the latter case, the channels 2c and 2c + 1 of the
/// input are the even and the odd rows of channel c.
void add_up_shortcut(const at::Tensor& out, const at::Tensor& in);

}  // namespace wan::vae
