#include "launch/layout_choice.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "launch/plan_report.h"
#include "parallel/item_time.h"

namespace wan::launch {
namespace {

constexpr double usable_share_gpu = 0.97;   // of a GPU's free memory: allocators leave holes
constexpr double usable_share_cpu = 0.6;    // of a rank's share of the host's, which others use too
constexpr double usable_share_host = 0.85;  // page-locked, beside GPUs: the rest of the system must not swap

std::int64_t usable(std::uint64_t bytes, double share) {
  return static_cast<std::int64_t>(static_cast<double>(bytes) * share);
}

/// The option that rules a layout out; empty if none does.
std::string refused_by(const Options& options, const comm::GridShape& grid) {
  if (options.group_size.value_or(grid.group_size) != grid.group_size)
    return fmt::format("refused by --group-size {}", *options.group_size);
  if (options.cfg_size.value_or(grid.cfg) != grid.cfg)
    return fmt::format("refused by --cfg-size {}", *options.cfg_size);
  if (options.ulysses_size.value_or(grid.ulysses) != grid.ulysses)
    return fmt::format("refused by --ulysses-size {}", *options.ulysses_size);
  return {};
}

std::string_view word_of(Offload wish) {
  switch (wish) {
    case Offload::on:
      return "on";
    case Offload::off:
      return "off";
    case Offload::disk:
      return "disk";
    case Offload::automatic:
      break;
  }
  return "auto";
}

/// The place of the expert that is not at work.
Offload place_of_idle(const parallel::NetworkPlacement& transformers) {
  if (transformers.takes_turns()) return Offload::disk;
  return transformers.waits_on_host() ? Offload::on : Offload::off;
}

std::string refused_by(const Options& options, const parallel::NetworkPlacement& transformers,
                       bool can_split) {
  const auto refuses = [](Switch wish, bool choice) {
    return wish != Switch::automatic && (wish == Switch::on) != choice;
  };
  const auto word = [](Switch wish) { return wish == Switch::on ? "on" : "off"; };
  // A rank alone has nobody to share with: asking for it changes nothing.
  if ((can_split || options.dit_fsdp == Switch::off) && refuses(options.dit_fsdp, transformers.is_sharded()))
    return fmt::format("refused by --dit-fsdp {}", word(options.dit_fsdp));
  if (options.offload_model != Offload::automatic && options.offload_model != place_of_idle(transformers))
    return fmt::format("refused by --offload-model {}", word_of(options.offload_model));
  return {};
}

/// Fills in what a candidate takes and brings.
void measure(const MachineSize& machine, const parallel::PlanInput& model, LayoutCandidate& candidate) {
  const parallel::PlanInput input = plan_input_of(model, machine, candidate);
  const parallel::Plan plan = parallel::make_plan(input);
  const std::int64_t memory = usable_bytes(machine, input.on_gpu);
  candidate.bytes = plan.total_bytes();
  candidate.missing_bytes = std::max<std::int64_t>(0, candidate.bytes - memory);
  candidate.host_bytes = plan.host_bytes;
  if (const auto host = usable_host_bytes(machine)) {
    candidate.missing_host_bytes = std::max<std::int64_t>(0, candidate.host_bytes - *host);
  }
  constexpr double s_per_hour = 3600;
  const int groups = machine.ranks / candidate.grid.group_size;
  const parallel::ItemTime time = parallel::expected_item_time(input);
  candidate.item_s = time.total_s();
  candidate.step_source = time.sources.step;
  const double interval_s = machine.writers > 0
                                ? std::max(time.total_s() - time.write_s, time.write_s / machine.writers)
                                : time.total_s();
  candidate.items_per_hour = groups * s_per_hour / interval_s;
}

/// A group with its weights in one place; the text encoder is sharded where that makes room or its weights
/// are not worth keeping whole beside sharded experts.
LayoutCandidate make_candidate(const Options& options, const MachineSize& machine,
                               const parallel::PlanInput& model, const comm::GridShape& grid,
                               const parallel::NetworkPlacement& transformers) {
  using parallel::Division;
  const bool can_split = grid.group_size > 1;
  const parallel::LayoutWishes wishes{.ulysses_size = options.ulysses_size};
  LayoutCandidate candidate{.grid = grid,
                            .unguided = parallel::unguided_shape(grid, wishes, model.transformer.num_heads),
                            .placement = model.placement,
                            .refusal = refused_by(options, grid)};
  candidate.placement.transformers = transformers;
  candidate.placement.text_encoder.division =
      options.t5_fsdp == Switch::on ? Division::sharded : Division::whole;
  candidate.placement = parallel::for_group(candidate.placement, grid.group_size);
  if (candidate.refusal.empty()) candidate.refusal = refused_by(options, transformers, can_split);
  const bool is_whole = candidate.placement.transformers == parallel::NetworkPlacement();
  const bool may_split_text = can_split && options.t5_fsdp == Switch::automatic;
  if (may_split_text && !is_whole) candidate.placement.text_encoder.division = Division::sharded;
  measure(machine, model, candidate);
  if (may_split_text && is_whole && !candidate.fits()) {
    candidate.placement.text_encoder.division = Division::sharded;
    measure(machine, model, candidate);
  }
  return candidate;
}

/// `take_turns`: with experts that do, or with all others.
void add_candidates(const Options& options, const MachineSize& machine, const parallel::PlanInput& model,
                    bool take_turns, std::vector<LayoutCandidate>& candidates) {
  if (take_turns && (model.experts == 1 || !model.has_files)) return;
  const parallel::LayoutWishes none{.objective = options.objective};
  const std::int64_t heads = model.transformer.num_heads;
  for (const comm::GridShape& grid : parallel::granted_grids(none, machine.ranks, heads, model.guided)) {
    for (const parallel::NetworkPlacement& transformers : parallel::transformer_placements) {
      if (transformers.takes_turns() != take_turns) continue;
      if (transformers.is_sharded() && grid.group_size == 1) continue;
      if (transformers.waits_on_host() && !model.on_gpu) continue;
      candidates.push_back(make_candidate(options, machine, model, grid, transformers));
    }
  }
}

/// Splits of a group of the ranks that the heads do not allow, for the report.
std::vector<LayoutCandidate> impossible_candidates(int ranks, const parallel::PlanInput& model) {
  std::vector<LayoutCandidate> found;
  const std::int64_t heads = model.transformer.num_heads;
  for (int group_size = 1; group_size <= ranks; ++group_size) {
    if (ranks % group_size != 0) continue;
    for (const int cfg : {2, 1}) {
      const int ulysses = group_size / cfg;
      if (group_size % cfg != 0 || (cfg == 2 && !model.guided) || ulysses <= heads) continue;
      LayoutCandidate candidate;
      candidate.grid = {.group_size = group_size, .cfg = cfg, .ulysses = ulysses};
      candidate.refusal = fmt::format("{} heads are fewer than {} ranks", heads, ulysses);
      found.push_back(std::move(candidate));
    }
  }
  return found;
}

}  // namespace

std::int64_t usable_bytes(const MachineSize& machine, bool on_gpu) {
  return usable(machine.memory_bytes, on_gpu ? usable_share_gpu : usable_share_cpu);
}

std::optional<std::int64_t> usable_host_bytes(const MachineSize& machine) {
  if (!machine.host_memory_bytes) return std::nullopt;
  return usable(*machine.host_memory_bytes, usable_share_host);
}

parallel::PlanInput plan_input_of(parallel::PlanInput model, const MachineSize& machine,
                                  const LayoutCandidate& candidate) {
  model.machine = machine.figures.model;
  model.grid = candidate.grid;
  model.unguided_grid = candidate.unguided;
  model.placement = candidate.placement;
  return model;
}

LayoutChoice weigh_layouts(const Options& options, const MachineSize& machine,
                           const parallel::PlanInput& model) {
  const std::int64_t heads = model.transformer.num_heads;
  const parallel::LayoutWishes wishes{
      .group_size = options.group_size,
      .cfg_size = options.cfg_size,
      .ulysses_size = options.ulysses_size,
      .objective = options.objective,
      .names = {.group_size = "--group-size", .cfg_size = "--cfg-size", .ulysses_size = "--ulysses-size"}};
  // For its messages: what no layout grants is refused there.
  static_cast<void>(parallel::choose_grid(wishes, machine.ranks, heads, model.guided));
  LayoutChoice choice;
  add_candidates(options, machine, model, /*take_turns=*/false, choice.candidates);
  const auto find_taken = [&] {
    return std::ranges::find_if(choice.candidates,
                                [](const LayoutCandidate& c) { return c.is_allowed() && c.fits(); });
  };
  auto taken = find_taken();
  if (taken == choice.candidates.end()) {  // no group holds both experts, or none is to
    add_candidates(options, machine, model, /*take_turns=*/true, choice.candidates);
    taken = find_taken();
  }
  if (taken == choice.candidates.end()) {
    taken = std::ranges::min_element(choice.candidates, {}, [](const LayoutCandidate& c) {
      return std::tuple(!c.is_allowed(), c.placement.transformers.takes_turns(),
                        c.missing_bytes + c.missing_host_bytes, c.bytes);
    });
  }
  choice.chosen = static_cast<std::size_t>(taken - choice.candidates.begin());
  if (!taken->is_allowed() && options.offload_model == Offload::on && !model.on_gpu) {
    fail<UsageError>(
        "--offload-model on moves weights between GPU and host, and there is no GPU here: leave it out, or "
        "name the GPUs of the run by --gpus and --gpu-memory");
  }
  if (!taken->is_allowed()) {
    fail<UsageError>(
        "no layout agrees with the options: the best one is {}; leave --dit-fsdp and --offload-model on auto",
        taken->refusal);
  }
  std::ranges::move(impossible_candidates(machine.ranks, model), std::back_inserter(choice.candidates));
  return choice;
}

std::string LayoutChoice::reason(std::size_t index, parallel::Objective objective) const {
  const LayoutCandidate& own = candidates.at(index);
  if (index == chosen) return own.fits() ? "chosen" : "none fits; the lines above are of this one";
  if (!own.is_allowed()) return own.refusal;
  if (own.missing_bytes > 0) return fmt::format("does not fit by {}", format_bytes(own.missing_bytes));
  if (own.missing_host_bytes > 0)
    return fmt::format("host memory: {} too little", format_bytes(own.missing_host_bytes));
  const bool for_latency = objective == parallel::Objective::latency;
  // In per cent, of what the objective counts.
  const double loss = for_latency ? 100 * (own.item_s / taken().item_s - 1)
                                  : 100 * (1 - own.items_per_hour / taken().items_per_hour);
  constexpr double notable = 0.05;
  if (loss >= notable) {
    return fmt::format("slower: {:.1f} % {}", loss,
                       for_latency ? "more time per item" : "fewer items per hour");
  }
  if (own.grid.group_size != taken().grid.group_size)
    return for_latency ? "a smaller group than there can be" : "a larger group than is needed";
  if (own.grid == taken().grid) return "the weights need not move";
  return loss < 0 && own.grid.cfg < taken().grid.cfg ? "the passes of guidance are split first"
                                                     : "not faster";
}

}  // namespace wan::launch
