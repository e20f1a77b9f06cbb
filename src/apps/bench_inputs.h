#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "engine/model_description.h"

namespace wan::apps {

/// The input of a measured denoiser, made by the phases before it.
struct BenchInputs {
  std::vector<at::Tensor> contexts;  ///< of prompt and negative prompt, [tokens, text_dim] each
  at::Tensor condition;              ///< fp32 [20, frames, height, width]; undefined without one
  at::Tensor first_frame;            ///< fp32 [channels, 1, height, width]; undefined without one
  at::Tensor image_features;  ///< random, in place of CLIP's: fp32 [tokens, dim]; undefined without CLIP

  /// `latent`: the encoded image, fp32 [channels, frames, height, width], with one frame where it is the
  /// first.
  void set_image(const engine::ModelDescription& model, const at::Tensor& latent);
};

}  // namespace wan::apps
