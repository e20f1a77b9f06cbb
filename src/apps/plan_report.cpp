#include "apps/plan_report.h"

#include <fmt/format.h>

#include <array>

#include "parallel/layout.h"

namespace wan::apps {

std::string format_bytes(std::int64_t bytes) {
  constexpr std::array<const char*, 4> units{"B", "KiB", "MiB", "GiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

std::string plan_report(const parallel::PlanInput& input, const parallel::Plan& plan, int ranks,
                        std::optional<std::uint64_t> memory_bytes) {
  const kernels::TokenGrid& tokens = input.tokens;
  std::string text;
  text += fmt::format("ranks            {} in {} group{} of {}\n", ranks, ranks / plan.grid.group_size,
                      ranks / plan.grid.group_size == 1 ? "" : "s", plan.grid.group_size);
  text += fmt::format(
      "layout           {}; experts {}, text encoder {}\n", parallel::describe(plan.grid),
      input.dit_fsdp ? fmt::format("sharded over {}", plan.grid.group_size) : "whole on each rank",
      input.t5_fsdp ? fmt::format("sharded over {}", plan.grid.group_size) : "whole on each rank");
  text += fmt::format("tokens           {} ({} x {} x {}), {} on each rank\n", tokens.tokens(), tokens.frames,
                      tokens.rows, tokens.columns, plan.local_tokens);
  text += "memory per rank\n";
  for (const auto& [part, bytes] : plan.bytes)
    text += fmt::format("  {:<44}{:>12}\n", part, format_bytes(bytes));
  for (const auto& [phase, bytes] : plan.phase_bytes)
    text += fmt::format("  {:<44}{:>12}\n", "or " + phase, format_bytes(bytes));
  text += fmt::format("  {:<44}{:>12}\n", "at most together", format_bytes(plan.total_bytes()));
  if (memory_bytes) {
    const auto memory = static_cast<std::int64_t>(*memory_bytes);
    const std::int64_t left = memory - plan.total_bytes();
    text += left >= 0 ? fmt::format("  fits into {}, {} left\n", format_bytes(memory), format_bytes(left))
                      : fmt::format("  does NOT fit into {}: {} too much\n", format_bytes(memory),
                                    format_bytes(-left));
  }
  text += fmt::format("sent per step    {} by each rank\n", format_bytes(plan.wire_bytes_per_step));
  text +=
      fmt::format("work per step    {:.3g} PFLOP in linear layers, {:.3g} PFLOP in attention, on each rank\n",
                  plan.linear_flop_per_step / 1e15, plan.attention_flop_per_step / 1e15);
  text += fmt::format("expected step    {:.2f} s with one H200 per rank, exact (bf16)\n", plan.step_s);
  return text;
}

}  // namespace wan::apps
