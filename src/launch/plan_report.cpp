#include "launch/plan_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/strings.h"
#include "launch/layout_choice.h"
#include "launch/run_layout.h"
#include "model/precision_name.h"
#include "parallel/item_time.h"
#include "parallel/layout.h"
#include "parallel/measured_videos.h"

namespace wan::launch {
namespace {

std::string count(std::int64_t number, const char* what) {
  return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
}

/// Empty if all steps are divided alike.
std::string unguided_line(const parallel::PlanInput& model) {
  if (!model.guided || model.unguided_steps == 0) return {};
  std::string text = fmt::format("without guidance {} in {} of {}", parallel::describe(model.unguided_grid),
                                 model.unguided_steps, count(model.sample_steps, "step"));
  if (model.unguided_grid.copies() > 1) text += "; the copies compute the same";
  return text + "\n";
}

std::string layout_lines(const PlanSubject& subject, const parallel::Plan& plan) {
  const parallel::PlanInput& model = subject.model;
  const parallel::WeightPlacement& placement = model.placement;
  const int ranks = subject.machine.ranks;
  const int group_size = plan.grid.group_size;
  const kernels::TokenGrid& tokens = model.tokens;
  const std::string over = group_size > 1 ? fmt::format("sharded over {}", group_size) : "whole on each rank";
  const int side = model.geometry.pixels_per_token();
  std::string text =
      fmt::format("ranks            {} in {} of {}\n", ranks, count(ranks / group_size, "group"), group_size);
  text += fmt::format("figures          {}\n", parallel::describe(subject.machine.figures));
  text += fmt::format("                 {}\n",
                      parallel::describe_measurements(subject.task, model.transformer, group_size));
  if (model.site) {
    text += fmt::format("measured         {}: {} of {} on {}; other times are those of the figures\n",
                        printable(model.site->file),
                        count(static_cast<std::int64_t>(model.site->videos.size()), "layout"), subject.task,
                        model.site->gpu);
  }
  text += fmt::format("precision        {}{}\n", subject.precision,
                      subject.precision == bf16_name ? "" : "; the times are those of bf16");
  if (subject.vae_precision != VaePrecision::exact) {
    text +=
        fmt::format("VAE precision    {}; its times are those of exact\n", to_string(subject.vae_precision));
  }
  text += fmt::format("layout           {}; {} {}{}, text encoder {}\n", parallel::describe(plan.grid),
                      model.experts == 1 ? "transformer" : "experts",
                      placement.transformers.is_sharded() ? over : "whole on each rank",
                      placement.transformers.takes_turns()      ? ", one of them in memory at a time"
                      : !placement.transformers.waits_on_host() ? ""
                      : model.experts == 1                      ? ", on the host except for the steps"
                                                                : ", one of them on the host",
                      placement.text_encoder.is_sharded() ? over : "whole on each rank");
  text += unguided_line(model);
  text += fmt::format("video            {}*{}, {} frames, {}{}\n", tokens.columns * side, tokens.rows * side,
                      model.geometry.frame_num(tokens), count(model.sample_steps, "step"),
                      subject.manifest.items > 1 ? ": the largest of the manifest" : "");
  text += fmt::format("tokens           {} ({} x {} x {}), {} on each rank\n", tokens.tokens(), tokens.frames,
                      tokens.rows, tokens.columns, plan.local_tokens);
  return text;
}

/// How weights that wait on the host come to the GPU.
std::string copy_line(const PlanSubject& subject, const parallel::Plan& plan) {
  const bool is_only = subject.model.experts == 1;
  return fmt::format("{:<17}{} to each GPU in {:.2f} s, {}\n", is_only ? "transformer" : "experts' switch",
                     format_bytes(plan.host_bytes / subject.model.experts),
                     item_time(subject.model, subject.draft).copy_s,
                     is_only ? "block by block in an item's first step"
                             : "block by block from the last step of the other expert on");
}

std::string memory_lines(const PlanSubject& subject, const parallel::Plan& plan) {
  std::string text = "memory per rank\n";
  for (const auto& [part, bytes] : plan.bytes)
    text += fmt::format("  {:<44}{:>12}\n", part, format_bytes(bytes));
  for (const auto& [phase, bytes] : plan.phase_bytes)
    text += fmt::format("  {:<44}{:>12}\n", "or " + phase, format_bytes(bytes));
  text += fmt::format("  {:<44}{:>12}\n", "at most together", format_bytes(plan.total_bytes()));
  const LayoutCandidate& taken = subject.choice.taken();
  const auto memory = static_cast<std::int64_t>(subject.machine.memory_bytes);
  text += taken.missing_bytes <= 0
              ? fmt::format("  fits into {}, {} left\n", format_bytes(memory),
                            format_bytes(memory - plan.total_bytes()))
              : fmt::format("  does NOT fit into {}, of which {} can be used: {} too much\n",
                            format_bytes(memory), format_bytes(taken.bytes - taken.missing_bytes),
                            format_bytes(taken.missing_bytes));
  if (plan.host_bytes > 0) {
    text += fmt::format("host memory      {} page-locked for each rank, {} in all\n",
                        format_bytes(plan.host_bytes), format_bytes(plan.host_bytes * subject.machine.ranks));
    text += copy_line(subject, plan);
  }
  return text;
}

/// "  measured, 6 starts", or the figures that seconds come from; empty if there are no others.
std::string source_note(const PlanSubject& subject, std::string_view source) {
  if (!subject.model.site) return {};
  return source.empty() ? fmt::format("  {}'s figures", subject.model.machine.name)
                        : fmt::format("  {}", source);
}

std::string time_lines(const PlanSubject& subject) {
  const parallel::ItemTime time = item_time(subject.model, subject.draft);
  std::string text =
      fmt::format("expected time of such an item, with one {} per rank, bf16\n", subject.model.machine.name);
  const auto line = [&](std::string_view what, double seconds, std::string_view source) {
    text += fmt::format("  {:<44}{:>10.2f} s{}\n", what, seconds, source_note(subject, source));
  };
  const parallel::ItemSources& sources = time.sources;
  line("text", time.text_s, sources.text);
  if (time.encode_s > 0) line("encode the image", time.encode_s, sources.encode);
  const int turn = parallel::items_in_turn(subject.model);
  if (turn > 0) {
    line(fmt::format("read experts, once for {} (an estimate)", count(turn, "item")), time.swap_s, "");
  } else if (time.copy_s > 0) {
    line(fmt::format("wait for the {} from the host", subject.model.experts == 1 ? "transformer" : "experts"),
         time.swap_s, "");
  }
  const int unguided_steps = time.unguided_step_s > 0 ? subject.model.unguided_steps : 0;
  const int guided_steps = subject.model.sample_steps - unguided_steps;
  line(fmt::format("denoise: {} of {:.3g} s", count(guided_steps, "step"), time.step_s),
       guided_steps * time.step_s, sources.step);
  if (unguided_steps > 0) {
    line(fmt::format("{} without guidance of {:.3g} s", count(unguided_steps, "step"), time.unguided_step_s),
         unguided_steps * time.unguided_step_s, sources.unguided_step);
  }
  line(subject.draft.is_wanted() ? "decode the preview" : "decode", time.decode_s, sources.decode);
  line(sources.write.empty() ? "H.264 (of noise; others take less)" : "H.264", time.write_s, sources.write);
  text += fmt::format("  {:<44}{:>10.2f} s\n", "together", time.total_s());
  const ManifestTime& manifest = subject.manifest;
  if (manifest.items > 1) {
    text += fmt::format("expected time    {} for the manifest's {}, {} at work{}\n",
                        format_duration(manifest.total_s), count(manifest.items, "item"),
                        count(std::min<std::int64_t>(manifest.groups, manifest.items), "group"),
                        manifest.writers > 0 ? fmt::format("; {} of each write videos beside the next items",
                                                           count(manifest.writers, "thread"))
                                             : "");
  }
  return text + "  without reading the checkpoint; the GPUs of a group are taken to be in one node\n";
}

/// The parts of a group's time. A few steps without guidance leave the autoencoder and the writing a large
/// share of it.
std::string share_lines(const PlanSubject& subject) {
  const parallel::ItemTime time = item_time(subject.model, subject.draft);
  const double made_s = time.total_s() - time.write_s;
  const auto percent = [&](double seconds) { return 100 * seconds / made_s; };
  std::string text =
      fmt::format("shares           of {:.2f} s before it is written: steps {:.0f} %, VAE {:.0f} %", made_s,
                  percent(time.denoise_s), percent(time.encode_s + time.decode_s));
  if (time.swap_s > 0) text += fmt::format(", wait for experts {:.0f} %", percent(time.swap_s));
  const int writers = subject.machine.writers;
  if (writers == 0) return text + fmt::format("; then the group waits {:.2f} s for H.264\n", time.write_s);
  const double written_s = time.write_s / writers;
  if (written_s <= made_s)
    return text + fmt::format("; {} write beside the next items\n", count(writers, "thread"));
  return text + fmt::format("; writing limits the group: {} finish a video in {:.2f} s\n",
                            count(writers, "thread"), written_s);
}

/// The fastest layout for one item, and the one that makes most items, of those that could be taken.
std::string objective_lines(const PlanSubject& subject) {
  const auto& candidates = subject.choice.candidates;
  const LayoutCandidate& taken = subject.choice.taken();
  const LayoutCandidate* soonest = &taken;
  const LayoutCandidate* most = &taken;
  for (const LayoutCandidate& candidate : candidates) {
    if (!candidate.is_allowed() || !candidate.fits() || candidate.bytes == 0) continue;
    if (candidate.item_s < soonest->item_s) soonest = &candidate;
    if (candidate.items_per_hour > most->items_per_hour) most = &candidate;
  }
  const auto describe_one = [&](const LayoutCandidate& one) {
    return fmt::format("{} in {}: {:.2f} s an item, {:.1f} items an hour", parallel::describe(one.grid),
                       count(subject.machine.ranks / one.grid.group_size, "group"), one.item_s,
                       one.items_per_hour);
  };
  const bool for_latency = subject.objective == parallel::Objective::latency;
  std::string text = "guidance         none: one pass in each step, so cfg 2 has nothing to divide\n";
  text +=
      fmt::format("objective        {}: {}\n", for_latency ? "latency" : "throughput", describe_one(taken));
  const LayoutCandidate& other = for_latency ? *most : *soonest;
  const bool is_better =
      for_latency ? other.items_per_hour > 1.001 * taken.items_per_hour : other.item_s < 0.999 * taken.item_s;
  if (!is_better) {
    return text + fmt::format("                 no other layout {}\n",
                              for_latency ? "makes more items an hour" : "makes an item sooner");
  }
  return text + fmt::format("                 --objective {} is for {}\n",
                            for_latency ? "throughput" : "latency", describe_one(other));
}

std::string candidate_lines(const PlanSubject& subject) {
  std::string text = fmt::format("layouts for {} ({})\n",
                                 subject.objective == parallel::Objective::latency ? "latency" : "throughput",
                                 "in order of preference");
  // The source of a candidate's steps: the first word of "measured, 6 starts" or "scaled from ...".
  const auto source = [&](const std::string& said) {
    if (!subject.model.site) return std::string();
    const std::string word =
        said.empty() ? std::string(subject.model.machine.name) : said.substr(0, said.find_first_of(", "));
    return fmt::format("{:<9}  ", word);
  };
  text += fmt::format("  {:<5}  {:<18}  {:<31}  {:>10}  {:>8}  {:>7}  {}{}\n", "group", "layout",
                      subject.model.experts == 1 ? "transformer's weights" : "experts' weights", "per rank",
                      "s/item", "items/h", source("steps"), "why not");
  for (std::size_t i = 0; i < subject.choice.candidates.size(); ++i) {
    const LayoutCandidate& candidate = subject.choice.candidates[i];
    const std::string reason = subject.choice.reason(i, subject.objective);
    const std::string layout = parallel::describe(candidate.grid);
    if (candidate.bytes == 0) {
      text += fmt::format("  {:<5}  {:<18}  {:<31}  {:>10}  {:>8}  {:>7}  {}{}\n", candidate.grid.group_size,
                          layout, "-", "-", "-", "-", source("-"), reason);
      continue;
    }
    text += fmt::format(
        "  {:<5}  {:<18}  {:<31}  {:>10}  {:>8.1f}  {:>7.1f}  {}{}\n", candidate.grid.group_size, layout,
        parallel::describe_transformers(candidate.placement.transformers, subject.model.experts),
        format_bytes(candidate.bytes), candidate.item_s, candidate.items_per_hour,
        source(candidate.step_source), reason);
  }
  return text;
}

}  // namespace

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

std::string plan_report(const PlanSubject& subject) {
  const parallel::Plan plan = parallel::make_plan(subject.model);
  std::string text = layout_lines(subject, plan) + memory_lines(subject, plan);
  if (!subject.loras.empty()) text += fmt::format("LoRAs            {}\n", subject.loras);
  text += fmt::format("sent per step    {} by each rank\n", format_bytes(plan.wire_bytes_per_step));
  text +=
      fmt::format("work per step    {:.3g} PFLOP in linear layers, {:.3g} PFLOP in attention, on each rank\n",
                  plan.linear_flop_per_step / 1e15, plan.attention_flop_per_step / 1e15);
  text += time_lines(subject);
  if (!subject.model.guided) text += share_lines(subject) + objective_lines(subject);
  return text + candidate_lines(subject);
}

}  // namespace wan::launch
