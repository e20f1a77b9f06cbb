#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string_view>

#include "checkpoint/model_config.h"
#include "checkpoint/weight_source.h"

namespace wan::clip {

/// Receives intermediate results by name ("input", "pre_norm", "blocks.0", ...), for parity tests. "input" is
/// [3, image_size, image_size], the others are [tokens, dim].
using Probe = std::function<void(std::string_view name, const at::Tensor& value)>;

/// The vision part of CLIP, without its last block and final norm (model.md 10.1). It computes in fp32,
/// whatever the other networks compute in. The order of a unit's tensors is that of
/// checkpoint::image_encoder_units().
class VisionTower {
 public:
  VisionTower(checkpoint::ImageEncoderConfig config, checkpoint::WeightSource& weights);

  /// `pixels`: fp32 [3, image_size, image_size] in -1..1, on the weights' device. Returns the features fp32
  /// [tokens, dim], the class token first.
  at::Tensor encode(const at::Tensor& pixels, const Probe& probe = {});

 private:
  checkpoint::ImageEncoderConfig config_;
  checkpoint::WeightSource& weights_;
};

}  // namespace wan::clip
