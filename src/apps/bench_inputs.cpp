#include "apps/bench_inputs.h"

#include <ATen/ATen.h>

#include <numeric>

#include "core/check.h"
#include "launch/plan_report.h"
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

void require_small_without_gpu(const launch::Options& options, const parallel::PlanInput& plan) {
  constexpr std::int64_t largest_on_cpu_bytes = 2'000'000'000;  // wan_batch's limit
  if (plan.on_gpu || options.device == launch::Device::cpu) return;
  std::int64_t weights_bytes = 0;
  for (const auto& [part, bytes] : parallel::make_plan(plan).bytes) weights_bytes += bytes;
  if (weights_bytes <= largest_on_cpu_bytes) return;
  fail<UsageError>(
      "no GPU was found, and {} would take {} of this host's memory for each rank, and days on the CPU; run "
      "where there is a GPU, or insist with --device cpu",
      options.bench.model, launch::format_bytes(weights_bytes));
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
