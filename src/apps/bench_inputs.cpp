#include "apps/bench_inputs.h"

#include <ATen/ATen.h>

#include <numeric>

#include "model/guidance.h"

namespace wan::apps {

void BenchInputs::set_image(const engine::ModelDescription& model, const at::Tensor& latent) {
  const model::ModelKind& kind = *model.kind;
  if (kind.conditioning == model::Conditioning::first_frame) {
    first_frame = latent;
    return;
  }
  std::vector<std::int64_t> mask_shape = latent.sizes().vec();
  mask_shape.front() = kind.condition_channels - latent.size(0);
  condition = at::cat({at::zeros(mask_shape, latent.options()), latent}, 0);
}

engine::DenoiseInput BenchInputs::request(const engine::ModelDescription& model, const at::Tensor& noise,
                                          const launch::BenchSettings& settings, bool bf16_terms) const {
  return {.start = {.steps_done = 0, .latent = noise, .history = {}},
          .condition = condition,
          .context = contexts[0],
          .negative_context = contexts[1],
          .settings = {.solver = Solver::unipc,
                       .steps = settings.warmup + settings.steps,
                       .shift = 5,
                       .boundary = model.kind->has_one_expert() ? std::nullopt : std::optional(0.0),
                       .guide_scale = {settings.guide_scale, settings.guide_scale},
                       .bf16_terms = bf16_terms},
          .first_frame = first_frame,
          .image_features = image_features};
}

std::vector<std::int64_t> bench_prompt() {
  constexpr std::size_t tokens = 120;
  std::vector<std::int64_t> ids(tokens);
  std::iota(ids.begin(), ids.end(), 2);
  return ids;
}

bool is_guided(const launch::BenchSettings& settings) { return model::is_guided(settings.guide_scale); }

Request bench_item(const launch::BenchSettings& settings) {
  Request request;
  request.id = bench_item_id;
  request.size = settings.size;
  request.frame_num = settings.frame_num;
  request.sample_steps = settings.warmup + settings.steps;
  request.guide_scale = {settings.guide_scale, settings.guide_scale};
  return request;
}

}  // namespace wan::apps
