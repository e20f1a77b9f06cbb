#include "apps/run_layout.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>

#include "apps/plan_report.h"
#include "checkpoint/checkpoint.h"
#include "core/check.h"

namespace wan::apps {
namespace {

constexpr double usable_share_gpu = 0.97;  // of a GPU's free memory: allocators leave holes
constexpr double usable_share_cpu = 0.6;   // of a rank's share of the host's, which others use too
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
  checkpoint::TransformerConfig config = checkpoint::read_transformer_config(folder, weights);
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

/// Where weights may lie, from the fastest to the smallest.
struct Residency {
  bool dit_fsdp, t5_fsdp, offload_model;
};
constexpr Residency residencies[] = {{false, false, false},
                                     {false, true, false},
                                     {true, true, false},
                                     {false, true, true},
                                     {true, true, true}};

bool grants(Switch wish, bool choice) { return wish == Switch::automatic || (wish == Switch::on) == choice; }

void apply(const Residency& residency, const Options& options, parallel::PlanInput& plan) {
  const bool can_split = plan.grid.group_size > 1;
  plan.dit_fsdp = can_split && residency.dit_fsdp;
  plan.t5_fsdp =
      can_split && (options.t5_fsdp == Switch::automatic ? residency.t5_fsdp : options.t5_fsdp == Switch::on);
  plan.offload_model = plan.on_gpu && residency.offload_model;
}

/// The first residency that the user's wishes allow and that fits; without one, the smallest on the CPU,
/// whose memory can be swapped, and an error on GPUs.
void choose_residency(const Options& options, std::uint64_t memory_bytes, parallel::PlanInput& plan) {
  const double usable =
      static_cast<double>(memory_bytes) * (plan.on_gpu ? usable_share_gpu : usable_share_cpu);
  std::int64_t least_bytes = std::numeric_limits<std::int64_t>::max();
  for (const Residency& residency : residencies) {
    const bool granted = grants(options.dit_fsdp, residency.dit_fsdp) &&
                         grants(options.offload_model, residency.offload_model) &&
                         (plan.on_gpu || !residency.offload_model);
    if (!granted) continue;
    apply(residency, options, plan);
    const std::int64_t bytes = parallel::make_plan(plan).total_bytes();
    if (static_cast<double>(bytes) <= usable) return;
    least_bytes = std::min(least_bytes, bytes);
  }
  if (!plan.on_gpu || options.plan) return;
  fail<UsageError>(
      "the layout {} needs {} on each GPU, {} more than the {} that are free; use more GPUs per group "
      "(--group-size), a smaller --size or --frame-num, or leave --dit-fsdp and --offload-model to the "
      "planner "
      "(--plan --gpus N --gpu-memory M shows what fits)",
      parallel::describe(plan.grid), format_bytes(least_bytes),
      format_bytes(least_bytes - static_cast<std::int64_t>(usable)),
      format_bytes(static_cast<std::int64_t>(usable)));
}

/// Alike for requests with and without guidance, whose sequences may be split differently.
int choose_chunks(const Options& options, std::int64_t heads, const RunLayout& layout) {
  const int most = std::max(layout.guided.ulysses, layout.unguided.ulysses);
  if (!options.head_chunks) return parallel::choose_head_chunks(heads, most);
  for (const int ulysses : {layout.guided.ulysses, layout.unguided.ulysses}) {
    if (heads / ulysses % *options.head_chunks == 0) continue;
    fail<UsageError>("--head-chunks {} does not divide the {} heads of each of {} ranks",
                     *options.head_chunks, heads / ulysses, ulysses);
  }
  return *options.head_chunks;
}

}  // namespace

parallel::PlanInput describe_model(const RunInput& input, const Options& options, bool on_gpu) {
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
          .on_gpu = on_gpu || for_gpus,
          .t5_cpu = options.t5_cpu,
          .element_bytes =
              (on_gpu || for_gpus) && options.precision != Precision::fp32 ? exact_bytes : fp32_bytes};
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
  choose_residency(options, memory_bytes, plan);
  layout.dit_fsdp = plan.dit_fsdp;
  layout.t5_fsdp = plan.t5_fsdp;
  layout.offload_model = plan.offload_model;
  layout.head_chunks = choose_chunks(options, plan.transformer.num_heads, layout);
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
