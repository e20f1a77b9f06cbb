#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "engine/denoiser.h"
#include "engine/model_description.h"
#include "launch/options.h"
#include "parallel/plan.h"
#include "wan/request.h"

namespace wan::apps {

/// The input of a measured denoiser, made by the phases before it.
struct BenchInputs {
  std::vector<at::Tensor> contexts;  ///< of prompt and negative prompt, [tokens, text_dim] each
  at::Tensor condition;              ///< fp32 [20, frames, height, width]; undefined without one
  at::Tensor first_frame;            ///< fp32 [channels, 1, height, width]; undefined without one
  at::Tensor image_features;         ///< of CLIP, fp32 [tokens, dim]; undefined without CLIP

  /// `latent`: the encoded image, fp32 [channels, frames, height, width], with one frame where it is the
  /// first.
  void set_image(const engine::ModelDescription& model, const at::Tensor& latent);

  /// The request of a model that begins with this noise, [channels, frames, height, width], and makes the
  /// steps of the settings. `bf16_terms`: as in sample::SamplerSettings.
  engine::DenoiseInput request(const engine::ModelDescription& model, const at::Tensor& noise,
                               const launch::BenchSettings& settings, bool bf16_terms) const;
};

/// Refuses a model that would take much of a host's memory, and days, where no GPU was found and the user
/// does not insist on the CPU.
void require_small_without_gpu(const launch::Options& options, const parallel::PlanInput& plan);

/// Token ids of a prompt of the usual length.
std::vector<std::int64_t> bench_prompt();

/// Everything that is measured is one item of this name in the trace.
inline constexpr const char* bench_item_id = "bench";
/// Whether the steps make both passes.
bool is_guided(const launch::BenchSettings& settings);
Request bench_item(const launch::BenchSettings& settings);

}  // namespace wan::apps
