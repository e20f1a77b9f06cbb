#include "apps/run_layout.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "checkpoint/checkpoint.h"
#include "core/check.h"

namespace wan::apps {
namespace {

constexpr double share_for_weights = 0.6;  // of a rank's memory; the rest is for activations
constexpr int exact_bytes = 2;
constexpr int fp32_bytes = 4;

std::int64_t parameters_of(const checkpoint::Checkpoint& files) {
  std::int64_t elements = 0;
  for (const auto& [name, entry] : files.entries()) elements += entry.elements();
  return elements;
}

/// Sizes of an expert whose files hold every tensor of the model, as their headers say.
checkpoint::TransformerConfig check_expert(const std::filesystem::path& folder) {
  const auto weights = checkpoint::Checkpoint::open_safetensors_folder(folder);
  const checkpoint::TransformerConfig config = checkpoint::read_transformer_config(folder, weights);
  checkpoint::expect_tensors(weights, checkpoint::transformer_tensors(config));
  return config;
}

/// The grid of the first good row, or of the command line's values; an i2v image is taken to have the size's
/// own aspect.
kernels::TokenGrid planned_tokens(const RunInput& input) {
  const auto good = std::ranges::find_if(input.rows, [](const auto& row) { return !row.error; });
  const Request request = resolve_row(input, good != input.rows.end() ? *good : batch::ManifestRow{});
  return {.frames = (request.frame_num - 1) / 4 + 1,
          .rows = request.size.height / 16,
          .columns = request.size.width / 16};
}

}  // namespace

parallel::PlanInput describe_model(const RunInput& input, const Options& options) {
  const checkpoint::TransformerConfig transformer = check_expert(input.checkpoint.high_noise_model);
  checkpoint::expect_same_config(transformer, check_expert(input.checkpoint.low_noise_model));
  const auto encoder = checkpoint::Checkpoint::open_torch_archive(input.checkpoint.text_encoder);
  const checkpoint::TextEncoderConfig text_encoder = checkpoint::read_text_encoder_config(encoder);
  checkpoint::expect_tensors(encoder, checkpoint::text_encoder_tensors(text_encoder));
  const bool for_gpus = options.plan && (options.gpus || options.gpu_memory_bytes);
  const GuideScale scale = input.overrides.guide_scale.value_or(input.checkpoint.task.defaults.guide_scale);
  return {.transformer = transformer,
          .text_encoder = text_encoder,
          .vae_parameters = parameters_of(checkpoint::Checkpoint::open_torch_archive(input.checkpoint.vae)),
          .grid = {},
          .tokens = planned_tokens(input),
          .guided = scale.low_noise != 1 || scale.high_noise != 1,
          .dit_fsdp = false,
          .t5_fsdp = false,
          .element_bytes = for_gpus && options.precision != Precision::fp32 ? exact_bytes : fp32_bytes};
}

RunLayout choose_layout(const Options& options, int ranks, std::uint64_t memory_bytes,
                        parallel::PlanInput& plan) {
  const parallel::LayoutWishes wishes{.group_size = options.group_size,
                                      .cfg_size = options.cfg_size,
                                      .ulysses_size = options.ulysses_size,
                                      .objective = options.objective};
  RunLayout layout;
  layout.guided = parallel::choose_grid(wishes, ranks, plan.transformer.num_heads, plan.guided);
  layout.unguided = parallel::unguided_shape(layout.guided, wishes, plan.transformer.num_heads);
  plan.grid = layout.guided;
  const bool fits = static_cast<double>(parallel::make_plan(plan).total_bytes()) <
                    share_for_weights * static_cast<double>(memory_bytes);
  const bool can_split = layout.guided.group_size > 1;
  const auto decide = [&](Switch wish) {
    return wish == Switch::on || (wish == Switch::automatic && can_split && !fits);
  };
  layout.dit_fsdp = plan.dit_fsdp = decide(options.dit_fsdp);
  layout.t5_fsdp = plan.t5_fsdp = decide(options.t5_fsdp);
  return layout;
}

int threads_per_rank(const comm::MpiEnvironment& mpi) {
  const int cores = std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));
  cpu_set_t bound;
  CPU_ZERO(&bound);
  if (::sched_getaffinity(0, sizeof bound, &bound) == 0 && CPU_COUNT(&bound) < cores)
    return CPU_COUNT(&bound);
  return std::max(1, cores / mpi.local_size());
}

std::uint64_t memory_per_rank_bytes(const comm::MpiEnvironment& mpi) {
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::uint64_t kibibytes = 0;
  for (std::string unit; file >> key >> kibibytes; std::getline(file, unit)) {
    if (key == "MemAvailable:") return kibibytes * 1024 / static_cast<std::uint64_t>(mpi.local_size());
  }
  fail("cannot read MemAvailable from /proc/meminfo");
}

}  // namespace wan::apps
