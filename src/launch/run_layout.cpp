#include "launch/run_layout.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <queue>
#include <tuple>
#include <utility>
#include <vector>

#include "core/check.h"
#include "engine/step_passes.h"
#include "gpu/device.h"
#include "kernels/head_division.h"
#include "launch/group_schedule.h"
#include "launch/plan_report.h"
#include "launch/writer_count.h"
#include "model/precision_name.h"
#include "parallel/item_time.h"

namespace wan::launch {
namespace {

constexpr int bf16_bytes = 2;
constexpr int fp32_bytes = 4;

model::TokenGrid token_grid(const RunInput& input, const Request& request) {
  const model::VideoGeometry& geometry = model::model_kind(input.checkpoint.task.name).geometry;
  return geometry.token_grid(request.frame_num, request.size);
}

/// The differences between the items of a manifest that matter for time and memory.
struct ItemShape {
  kernels::TokenGrid tokens;
  bool guided = true;  ///< in some step
  int steps = 0;
  int unguided_steps = 0;  ///< of them; 0 if all are
};

/// Puts an item's values into a plan.
void set_shape(const ItemShape& shape, parallel::PlanInput& plan) {
  plan.tokens = shape.tokens;
  plan.sample_steps = shape.steps;
  plan.unguided_steps = shape.unguided_steps;
}

/// The shape of each good row; that of the command line's values if there is no row. Takes an image to have
/// the aspect of the size.
std::vector<ItemShape> item_shapes(const RunInput& input) {
  std::vector<ItemShape> shapes;
  const auto add = [&](const manifest::ManifestRow& row) {
    const Request request = resolve_row(input, row);
    const int steps = steps_to_make(input, request);
    const int unguided = engine::count_unguided_steps(request, steps);
    const bool is_guided = unguided < steps;
    shapes.push_back({.tokens = token_grid(input, request),
                      .guided = is_guided,
                      .steps = steps,
                      .unguided_steps = is_guided ? unguided : 0});
  };
  for (const manifest::ManifestRow& row : input.rows)
    if (!row.error) add(row);
  if (shapes.empty()) add({});
  return shapes;
}

/// The checkpoint's model, or without one the official model of the task.
engine::ModelDescription describe(const RunInput& input) {
  if (input.checkpoint.root.empty()) return engine::describe_named_model(input.checkpoint.task.name);
  return engine::describe_model(input.checkpoint);
}

/// How many GPUs like these would do, for a message.
std::string describe_what_fits(const Options& options, MachineSize machine,
                               const parallel::PlanInput& model) {
  constexpr int most = 64;
  while (machine.ranks <= most / 2) {
    machine.ranks *= 2;
    if (weigh_layouts(options, machine, model).taken().fits()) {
      return fmt::format("{} such GPUs would do", machine.ranks);
    }
  }
  return fmt::format("no number of such GPUs up to {} would do", most);
}

[[noreturn]] void fail_for_memory(const LayoutCandidate& smallest, const MachineSize& machine, int experts,
                                  const std::string& what_fits) {
  const bool of_host = smallest.missing_bytes <= 0;
  const std::int64_t needed = of_host ? smallest.host_bytes : smallest.bytes;
  const std::int64_t missing = of_host ? smallest.missing_host_bytes : smallest.missing_bytes;
  fail<UsageError>(
      "no layout of {} GPU{} fits: the smallest one, {} with weights {}, needs {} {}, {} more than the {} "
      "that can be used; {}; use more GPUs per group (--group-size), a smaller --size or --frame-num, or "
      "leave --dit-fsdp and --offload-model on auto (--plan shows what fits here, and --plan --gpus N "
      "--gpu-memory M what fits elsewhere)",
      machine.ranks, machine.ranks == 1 ? "" : "s", parallel::describe(smallest.grid),
      parallel::describe_transformers(smallest.placement.transformers, experts), format_bytes(needed),
      of_host ? "of page-locked host memory for each GPU" : "on each GPU", format_bytes(missing),
      format_bytes(needed - missing), what_fits);
}

/// Requests without guidance may split the sequence over more ranks, each with fewer heads. The
/// user's wish is for requests with guidance, if there are any; the others follow it where it fits them, too.
void check_head_chunks(const parallel::HeadChunkWish& wish, const parallel::PlanInput& plan,
                       const RunLayout& layout) {
  const int ulysses = plan.guided ? layout.guided.ulysses : layout.unguided.ulysses;
  if (wish.fits(plan.transformer.num_heads, ulysses)) return;
  const kernels::HeadDivision division{.heads = plan.transformer.num_heads, .parts = ulysses};
  const std::string_view no_fit = wish.count ? "does not divide" : "does not add up to";
  if (division.is_even()) {
    fail<UsageError>("--head-chunks {} {} the {} heads of {}; give {}, or leave it on auto",
                     parallel::describe(wish), no_fit, division.per_part(),
                     ulysses == 1 ? "the rank" : fmt::format("each of {} ranks", ulysses),
                     wish.count ? "a number that does" : "heads that do");
  }
  fail<UsageError>(
      "--head-chunks {} does not fit {} heads over {} ranks: it must {} {}, the most heads of a rank, with a "
      "chunk of 2 heads or more, from which ranks with {} leave one out",
      parallel::describe(wish), division.heads, ulysses, wish.count ? "divide" : "add up to",
      division.per_part(), division.per_part() - 1);
}

/// Whether a dry run is of a job on other GPUs than those here: it names them, or asks for a placement that
/// only GPUs have.
bool checks_for_elsewhere(const Options& options, bool on_gpu) {
  if (!options.dry_run) return false;
  const bool needs_gpus = options.offload_model == Offload::on && options.device != Device::cpu;
  return options.gpus || options.gpu_memory_bytes || (needs_gpus && !on_gpu);
}

}  // namespace

parallel::PlanInput sizes_of(const engine::ModelDescription& model, bool has_files,
                             VaePrecision vae_precision) {
  parallel::PlanInput plan;
  if (vae_precision != VaePrecision::exact) plan.vae_element_bytes = bf16_bytes;
  plan.has_files = has_files;
  plan.transformer = model.transformer;
  plan.text_encoder = model.text_encoder;
  plan.image_encoder = model.image_encoder;
  plan.vae_parameters = model.vae_parameters();
  plan.vae_family = model.vae.family;
  plan.geometry = model.kind->geometry;
  plan.experts = static_cast<int>(model.kind->experts.size());
  return plan;
}

MachineSize machine_size(const Options& options, int ranks, const RunDevice& device) {
  const bool on_gpu = device.compute.on_gpu();
  MachineSize machine{.ranks = ranks,
                      .memory_bytes = device.memory_bytes,
                      .figures = parallel::choose_machine(device.reference_gpu),
                      .writers = options.writers.value_or(most_automatic_writers)};
  if (checks_for_elsewhere(options, on_gpu)) {
    machine.ranks = options.gpus.value_or(ranks);
    machine.memory_bytes = std::uint64_t{1} << 50;  // rows_beyond_gpus() counts with theirs, row by row
    return machine;
  }
  if (!options.plan) {
    if (on_gpu) machine.host_memory_bytes = device.host_memory_bytes;
    return machine;
  }
  machine.ranks = options.gpus.value_or(ranks);
  if (options.gpu_memory_bytes) {
    machine.memory_bytes = *options.gpu_memory_bytes;
  } else if (options.gpus && !on_gpu) {
    fail<UsageError>(
        "--gpus {}: there is no GPU here to ask for its memory; say how much each has, for example "
        "--gpu-memory 80GiB",
        *options.gpus);
  }
  return machine;
}

parallel::PlanInput describe_model(const RunInput& input, const Options& options, bool on_gpu) {
  parallel::PlanInput plan = sizes_of(describe(input), /*has_files=*/true, options.vae_precision);
  // The largest video must fit, whichever row it is.
  const std::vector<ItemShape> shapes = item_shapes(input);
  const ItemShape& largest = *std::ranges::max_element(
      shapes, {}, [](const ItemShape& shape) { return std::pair(shape.tokens.tokens(), shape.steps); });
  set_shape(largest, plan);
  plan.guided = std::ranges::any_of(shapes, &ItemShape::guided);
  plan.on_gpu = on_gpu || (options.plan && (options.gpus || options.gpu_memory_bytes)) ||
                checks_for_elsewhere(options, on_gpu);
  plan.placement.text_encoder.residence = parallel::text_encoder_residence(plan.on_gpu, options.t5_cpu);
  plan.element_bytes = plan.on_gpu && options.precision != Precision::fp32 ? bf16_bytes : fp32_bytes;
  return plan;
}

std::string_view precision_of(const Options& options, const parallel::PlanInput& plan) {
  if (options.precision == Precision::fp16) return fp16_name;
  return plan.element_bytes == bf16_bytes ? bf16_name : fp32_name;
}

std::int64_t leave_out_oversized(const RunInput& input, const Options& options, const MachineSize& machine,
                                 parallel::PlanInput& plan) {
  if (!plan.on_gpu || options.plan) return 0;
  std::vector<ItemShape> shapes = item_shapes(input);
  std::ranges::sort(shapes, std::ranges::greater(),
                    [](const ItemShape& shape) { return std::pair(shape.tokens.tokens(), shape.steps); });
  std::int64_t tried = std::numeric_limits<std::int64_t>::max();
  for (std::size_t larger = 0; larger < shapes.size(); ++larger) {
    const ItemShape& shape = shapes[larger];
    if (shape.tokens.tokens() == tried) continue;
    tried = shape.tokens.tokens();
    parallel::PlanInput smaller = plan;
    set_shape(shape, smaller);
    if (!weigh_layouts(options, machine, smaller).taken().fits()) continue;
    plan = std::move(smaller);
    return static_cast<std::int64_t>(larger);
  }
  return 0;
}

std::set<std::size_t> rows_beyond_gpus(const RunInput& input, const Options& options,
                                       const comm::MpiRanks& ranks) {
  MachineSize machine{.ranks = options.gpus.value_or(ranks.size()),
                      .memory_bytes = options.gpu_memory_bytes.value_or(0)};
  if (machine.memory_bytes == 0 && options.device != Device::cpu) {
    const int visible = gpu::visible_gpus().count;
    if (visible > 0) machine.memory_bytes = gpu::open_device(0).total_bytes;
    if (!options.gpus) machine.ranks = std::max(machine.ranks, visible);
  }
  if (machine.memory_bytes == 0) return {};
  parallel::PlanInput plan = describe_model(input, options, true);
  std::map<std::pair<std::int64_t, bool>, bool> fits;  // by tokens and whether there are unguided steps
  std::set<std::size_t> beyond;
  for (std::size_t row = 0; row < input.rows.size(); ++row) {
    if (input.rows[row].error) continue;
    const Request request = resolve_row(input, input.rows[row]);
    plan.tokens = token_grid(input, request);
    plan.sample_steps = request.sample_steps;
    plan.unguided_steps = engine::count_unguided_steps(request, request.sample_steps);
    const auto [known, is_new] = fits.try_emplace({plan.tokens.tokens(), plan.unguided_steps > 0}, true);
    if (is_new) known->second = weigh_layouts(options, machine, plan).taken().fits();
    if (!known->second) beyond.insert(row);
  }
  return beyond;
}

RunLayout choose_layout(const Options& options, const MachineSize& machine, parallel::PlanInput& plan) {
  const LayoutChoice choice = weigh_layouts(options, machine, plan);
  const LayoutCandidate& taken = choice.taken();
  if (!taken.fits() && plan.on_gpu && !options.plan)
    fail_for_memory(taken, machine, plan.experts, describe_what_fits(options, machine, plan));
  plan = plan_input_of(plan, machine, taken);
  RunLayout layout{.guided = taken.grid,
                   .unguided = taken.unguided,
                   .placement = taken.placement,
                   .head_chunks = options.head_chunks,
                   .experts = plan.experts,
                   .items_in_turn = parallel::items_in_turn(plan)};
  check_head_chunks(layout.head_chunks, plan, layout);
  return layout;
}

std::string describe(const RunLayout& layout) {
  std::string text = parallel::describe(layout.guided);
  if (layout.placement.transformers.is_sharded()) text += fmt::format(", fsdp{}", layout.guided.group_size);
  const std::string residence = parallel::describe_residence(layout.placement.transformers, layout.experts);
  return residence.empty() ? text : text + ", " + residence;
}

parallel::ItemTime item_time(const parallel::PlanInput& input, const Draft& draft) {
  parallel::ItemTime time = parallel::expected_item_time(input);
  // A request with no more steps than a draft is made whole. Here it is taken for a draft, too.
  if (!draft.is_wanted()) return time;
  const auto frames = static_cast<double>(input.tokens.frames);
  double share = 1.0 / (draft.shrink * draft.shrink);
  if (draft.frames > 0)
    share *= std::min(1.0, static_cast<double>(input.geometry.latent_frames(draft.frames)) / frames);
  time.decode_s *= share;
  time.write_s *= share;
  return time;
}

ManifestTime expected_manifest_time(const RunInput& input, const parallel::PlanInput& plan,
                                    const RunLayout& layout, const MachineSize& machine) {
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t, bool, int, int>, parallel::ItemTime> known;
  const auto time_of = [&](const ItemShape& shape) {
    const auto [found, is_new] =
        known.try_emplace({shape.tokens.frames, shape.tokens.rows, shape.tokens.columns, shape.guided,
                           shape.steps, shape.unguided_steps},
                          parallel::ItemTime());
    if (is_new) {
      parallel::PlanInput item = plan;
      item.grid = shape.guided ? layout.guided : layout.unguided;
      item.guided = shape.guided;
      set_shape(shape, item);
      found->second = item_time(item, input.draft);
    }
    return found->second;
  };
  ManifestTime time{.groups = machine.ranks / layout.guided.group_size, .writers = machine.writers};
  std::vector<GroupSchedule> groups(static_cast<std::size_t>(time.groups), GroupSchedule(machine.writers));
  // Each item goes to the group that is free first, as the claims have it.
  const auto is_free_later = [&](std::size_t a, std::size_t b) {
    return std::pair(groups[a].free_at_s(), a) > std::pair(groups[b].free_at_s(), b);
  };
  std::vector<std::size_t> places(groups.size());
  std::iota(places.begin(), places.end(), std::size_t{0});
  std::priority_queue<std::size_t, std::vector<std::size_t>, decltype(is_free_later)> next(is_free_later,
                                                                                           places);
  for (const ItemShape& shape : item_shapes(input)) {
    const std::size_t place = next.top();
    next.pop();
    const parallel::ItemTime item = time_of(shape);
    groups[place].add(item.total_s() - item.write_s, item.write_s);
    next.push(place);
    time.total_s = std::max(time.total_s, groups[place].done_at_s());
    ++time.items;
  }
  return time;
}

int threads_per_rank(const comm::MpiRanks& ranks) {
  const int cores = std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));
  cpu_set_t bound;
  CPU_ZERO(&bound);
  if (::sched_getaffinity(0, sizeof bound, &bound) == 0 && CPU_COUNT(&bound) < cores)
    return CPU_COUNT(&bound);
  return std::max(1, cores / ranks.local_size());
}

std::uint64_t memory_per_rank_bytes(const comm::MpiRanks& ranks) {
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::uint64_t kibibytes = 0;
  for (std::string unit; file >> key >> kibibytes; std::getline(file, unit)) {
    if (key == "MemAvailable:") return kibibytes * 1024 / static_cast<std::uint64_t>(ranks.local_size());
  }
  fail("cannot read MemAvailable from /proc/meminfo");
}

}  // namespace wan::launch
