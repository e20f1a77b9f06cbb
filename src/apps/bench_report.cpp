#include "apps/bench_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/step_reporter.h"
#include "launch/plan_report.h"

namespace wan::apps {
namespace {

/// A number, or null for NaN, which JSON does not have.
nlohmann::json number(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

/// The slowest rank's, because the others wait for it; NaN if a rank could not make the reference load.
double slowest_reference_s(const std::vector<BenchRank>& ranks) {
  double slowest_s = 0;
  for (const BenchRank& rank : ranks) {
    if (!std::isfinite(rank.reference_s)) return rank.reference_s;
    slowest_s = std::max(slowest_s, rank.reference_s);
  }
  return slowest_s;
}

/// Adds the facts beside a measurement: the machine, and the versions of the software.
void add_facts(nlohmann::json& json, const BenchResult& result) {
  json["reference_s"] = number(slowest_reference_s(result.facts.ranks));
  json["ranks"] = nlohmann::json::array();
  for (const BenchRank& rank : result.facts.ranks) {
    json["ranks"].push_back({{"world_rank", rank.world_rank},
                             {"host", rank.host},
                             {"gpu_uuid", rank.gpu_uuid},
                             {"reference_s", number(rank.reference_s)}});
  }
  for (const char* name : {"vae_precision", "version", "revision", "build", "driver", "cuda", "nccl", "mpi",
                           "libtorch", "hdf5"}) {
    const auto found = result.facts.program.find(name);
    if (found != result.facts.program.end()) json[name] = std::get<std::string>(found->second);
  }
  json["arguments"] = result.arguments;
}

}  // namespace

TraceCost trace_cost(std::span<const double> step_s, int first, const std::map<int, double>& trace_s) {
  std::vector<double> traced_s;
  std::vector<double> untraced_s;
  TraceCost cost;
  for (std::size_t i = 0; i < step_s.size(); ++i) {
    const int step = first + static_cast<int>(i);
    const auto spent = trace_s.find(step);
    const double host_s = spent == trace_s.end() ? 0 : spent->second;
    (is_in_half_trace(step) ? traced_s : untraced_s).push_back(step_s[i] + host_s);
    cost.most_host_s = std::max(cost.most_host_s, host_s);
  }
  cost.traced_s = engine::median(traced_s);
  cost.untraced_s = engine::median(untraced_s);
  return cost;
}

void add_steps(BenchResult& result, const launch::BenchSettings& settings, std::span<const StepEvent> events,
               const BenchGroup& group) {
  const double ranks = group.ranks;
  std::vector<double> slowest(static_cast<std::size_t>(settings.warmup + settings.steps));
  if (settings.part_times) result.rank_computing_s.assign(static_cast<std::size_t>(group.ranks), 0.0);
  for (const StepEvent& event : events) {
    const auto step = static_cast<std::size_t>(event.step);
    slowest[step] = std::max(slowest[step], event.wall_s);
    if (event.step < settings.warmup) continue;
    result.wire_bytes_per_step = std::max(result.wire_bytes_per_step, event.sent_bytes);
    if (!settings.part_times) continue;
    for (std::size_t part = 0; part < part_count; ++part) {
      const double seconds = group.on_gpu ? event.part_gpu_s[part] : event.part_wall_s[part];
      result.parts_s[std::string(to_string(static_cast<Part>(part)))] += seconds / settings.steps / ranks;
      if (part <= static_cast<std::size_t>(Part::elementwise)) {  // the parts that compute come first
        result.rank_computing_s[static_cast<std::size_t>(event.group_rank)] += seconds / settings.steps;
      }
    }
  }
  result.step_s.assign(slowest.begin() + settings.warmup, slowest.end());
}

std::string bench_table(const launch::BenchSettings& settings, const BenchResult& result) {
  const double median_s = engine::median(result.step_s);
  const auto [fastest, slowest] = std::ranges::minmax(result.step_s);
  std::string text;
  text += fmt::format("{} at {}*{}, {} frames; {} x {}, {}, {}, attention {}\n", settings.model,
                      settings.size.width, settings.size.height, settings.frame_num, result.gpus,
                      result.gpu_model, result.precision, result.layout, result.attention);
  text += fmt::format("  step             {:9.3f} s   median of {} ({:.3f} to {:.3f})\n", median_s,
                      result.step_s.size(), fastest, slowest);
  for (const auto& [part, seconds] : result.parts_s)
    text += fmt::format("    {:<15}{:9.3f} s   {:4.1f} %\n", part, seconds, 100 * seconds / median_s);
  text += fmt::format("  text encoder     {:9.3f} s\n", result.text_s);
  if (std::isfinite(result.clip_s)) text += fmt::format("  CLIP             {:9.3f} s\n", result.clip_s);
  if (std::isfinite(result.vae_encode_s))
    text += fmt::format("  VAE encode       {:9.3f} s\n", result.vae_encode_s);
  text += fmt::format("  VAE decode       {:9.3f} s\n", result.vae_decode_s);
  text += fmt::format("  random weights   {:9.3f} s\n", result.fill_s);
  text += fmt::format("  reference load   {:9.4f} s\n", slowest_reference_s(result.facts.ranks));
  if (result.trace) {
    text += fmt::format(
        "  traced steps     {:9.4f} s   others {:.4f} s ({:+.2f} %), at most {:.2f} ms of the host\n",
        result.trace->traced_s, result.trace->untraced_s,
        100 * (result.trace->traced_s / result.trace->untraced_s - 1), 1e3 * result.trace->most_host_s);
  }
  const auto bytes = [&](const char* what, std::uint64_t value) {
    text += fmt::format("  {:<17}{:>11}\n", what, launch::format_bytes(static_cast<std::int64_t>(value)));
  };
  bytes("peak on a GPU", result.peak_vram_bytes);
  bytes("peak in tensors", result.peak_allocated_bytes);
  bytes("expert weights", result.weights_bytes_per_gpu);
  bytes("sent per step", result.wire_bytes_per_step);
  for (const auto& [what, uses] : result.kernels)
    text += gpu::kernel_table(fmt::format("kernels of rank 0's GPU, {}", what), uses);
  return text;
}

std::string bench_json(const launch::BenchSettings& settings, const BenchResult& result) {
  nlohmann::json json;
  json["gpus"] = result.gpus;
  json["gpu_model"] = result.gpu_model;
  json["model"] = settings.model;
  json["size"] = fmt::format("{}*{}", settings.size.width, settings.size.height);
  json["frame_num"] = settings.frame_num;
  json["precision"] = result.precision;
  json["layout"] = result.layout;
  json["head_chunks"] = result.head_chunks;
  json["attention"] = result.attention;
  json["s_per_step"] = engine::median(result.step_s);
  json["step_s"] = result.step_s;
  json["parts_s"] = nullptr;  // and an object as soon as there is a part
  for (const auto& [part, seconds] : result.parts_s) json["parts_s"][part] = number(seconds);
  json["text_s"] = result.text_s;
  json["clip_s"] = number(result.clip_s);
  json["vae_encode_s"] = number(result.vae_encode_s);
  json["vae_decode_s"] = result.vae_decode_s;
  json["fill_s"] = result.fill_s;
  json["peak_vram_bytes"] = result.peak_vram_bytes;
  json["peak_allocated_bytes"] = result.peak_allocated_bytes;
  json["weights_bytes_per_gpu"] = result.weights_bytes_per_gpu;
  if (result.trace) {
    json["trace_cost"] = {{"traced_step_s", result.trace->traced_s},
                          {"untraced_step_s", result.trace->untraced_s},
                          {"most_host_s", result.trace->most_host_s}};
  }
  json["wire_bytes_per_step"] = result.wire_bytes_per_step;
  for (const auto& [what, uses] : result.kernels) {
    json["kernels"][what] = nlohmann::json::array();
    for (const gpu::KernelUse& use : uses)
      json["kernels"][what].push_back({{"name", use.name}, {"calls", use.calls}, {"ms", use.ms}});
  }
  add_facts(json, result);
  return json.dump();
}

}  // namespace wan::apps
