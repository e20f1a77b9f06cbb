#include "launch/base_memory.h"

#include <fmt/format.h>

#include <optional>

#include "checkpoint/checkpoint.h"
#include "launch/plan_report.h"

namespace wan::launch {
namespace {

std::uint64_t expert_bytes(const checkpoint::CheckpointFolder& folder) {
  std::uint64_t bytes = 0;
  for (const checkpoint::ExpertFolder& expert : folder.experts) {
    const auto files = checkpoint::Checkpoint::open_part(checkpoint::Part::transformer, expert.path);
    for (const auto& [name, entry] : files.entries())
      bytes += static_cast<std::uint64_t>(entry.elements()) * checkpoint::size_bytes(entry.dtype);
  }
  return bytes;
}

/// Host memory of a rank that the rest of the run leaves; empty: not known.
std::optional<std::int64_t> free_bytes(const MachineSize& machine, const parallel::PlanInput& plan) {
  const parallel::Plan needs = parallel::make_plan(plan);
  if (!plan.on_gpu) return usable_bytes(machine, plan.on_gpu) - needs.total_bytes();
  const auto host = usable_host_bytes(machine);
  return host ? std::optional(*host - needs.host_bytes) : std::nullopt;
}

}  // namespace

BaseMemory base_memory(const RunInput& input, const MachineSize& machine, const parallel::PlanInput& plan) {
  BaseMemory memory{.sets = static_cast<int>(input.lora_sets.size())};
  if (memory.sets < 2 || input.checkpoint.experts.empty()) return memory;
  const auto parts =
      static_cast<std::uint64_t>(plan.placement.transformers.is_sharded() ? plan.grid.group_size : 1);
  // Ranges at the ends of slices are kept whole.
  constexpr std::uint64_t slack_bytes = std::uint64_t{64} << 20;
  memory.needed_bytes = expert_bytes(input.checkpoint) / parts + slack_bytes;
  const auto free = free_bytes(machine, plan);
  if (!free || *free >= static_cast<std::int64_t>(memory.needed_bytes))
    memory.kept_bytes = memory.needed_bytes;
  return memory;
}

std::string BaseMemory::describe() const {
  if (sets < 2) return {};
  const std::string bytes = format_bytes(static_cast<std::int64_t>(needed_bytes));
  if (kept_bytes > 0) {
    return fmt::format(
        "{} sets of LoRAs; the base weights stay in host memory for changes ({} for each rank, not "
        "page-locked)",
        sets, bytes);
  }
  return fmt::format(
      "{} sets of LoRAs; the host has no room for the base weights ({} for each rank): a change reads the "
      "checkpoint again",
      sets, bytes);
}

}  // namespace wan::launch
