#include "display/account_ledger.h"

#include <algorithm>
#include <cmath>

namespace wan::display {
namespace {

using batch::WaitFor;

constexpr std::array<std::string_view, time_name_count> names{
    "start_up", "load",    "text",           "image",   "encode", "lora", "steps",  "between_steps", "decode",
    "write",    "publish", "between_phases", "warm_up", "join",   "idle", "finish", "other"};

NamedTime& of(RankTimes& times, TimeName name) { return times[static_cast<std::size_t>(name)]; }

/// `other` for a phase that this page does not know.
TimeName name_of(std::string_view phase) {
  return static_cast<TimeName>(std::min<std::ptrdiff_t>(std::ranges::find(names, phase) - names.begin(),
                                                        static_cast<std::ptrdiff_t>(TimeName::other)));
}

}  // namespace

std::string_view to_string(TimeName name) { return names.at(static_cast<std::size_t>(name)); }

GroupSums& GroupSums::operator+=(const GroupSums& more) {
  for (std::size_t i = 0; i < part_s.size(); ++i) part_s[i] += more.part_s[i];
  for (std::size_t i = 0; i < waiting_s.size(); ++i) waiting_s[i] += more.waiting_s[i];
  items += more.items;
  video_s += more.video_s;
  writing_s += more.writing_s;
  energy_j += more.energy_j;
  unmetered += more.unmetered;
  return *this;
}

void AccountLedger::add_phase(const PhaseEvent& event, bool is_of_item) {
  if (event.is_background) {
    if (event.phase == "write") sums_.writing_s += event.wall_s;
    return;
  }
  if (is_of_item) add_to_span(event);
  RankTimes& times = times_[event.world_rank];
  if (event.phase == "denoise") {
    denoise_s_[event.world_rank] += event.wall_s;
    return;
  }
  const TimeName name = name_of(event.phase);
  if (name == TimeName::other) return;  // it stays in the rest
  ++of(times, name).calls;
  of(times, name).seconds += event.wall_s;
  if (name == TimeName::idle) add_idle(event);
}

void AccountLedger::add_to_span(const PhaseEvent& event) {
  Span& span = spans_[event.world_rank];
  const double end_s = event.start_s + event.wall_s;
  if (span.item != item_) {
    if (span.item >= 0) {
      of(times_[event.world_rank], TimeName::between_phases).seconds +=
          std::max(span.end_s - span.begin_s - span.named_s, 0.0);
    }
    span = {.item = item_, .begin_s = event.start_s, .end_s = end_s};
  }
  span.begin_s = std::min(span.begin_s, event.start_s);
  span.end_s = std::max(span.end_s, end_s);
  span.named_s += event.wall_s;
}

/// Divides an idle time at the moments at which the leader began to wait for something else.
void AccountLedger::add_idle(const PhaseEvent& event) {
  const auto offset_of = [&](int rank) {
    const auto found = clock_offset_s_.find(rank);
    return found == clock_offset_s_.end() ? 0 : found->second;
  };
  double begin_s = event.start_s - offset_of(event.world_rank) + offset_of(leader_);
  const double end_s = begin_s + event.wall_s;
  auto reason = WaitFor::row;
  for (const auto& [time_s, what] : waits_) {
    if (time_s >= end_s) break;
    if (time_s > begin_s) {
      sums_.waiting_s[static_cast<std::size_t>(reason)] += time_s - begin_s;
      begin_s = time_s;
    }
    reason = what;
  }
  sums_.waiting_s[static_cast<std::size_t>(reason)] += end_s - begin_s;
}

void AccountLedger::add_step(const StepEvent& event) {
  NamedTime& steps = of(times_[event.world_rank], TimeName::steps);
  ++steps.calls;
  steps.seconds += event.wall_s;
  for (std::size_t part = 0; part < part_count; ++part) {
    const double gpu_s = event.part_gpu_s[part];
    sums_.part_s[part] += std::isfinite(gpu_s) ? gpu_s : event.part_wall_s[part];
  }
}

void AccountLedger::add_samples(std::span<const DeviceSample> samples) {
  for (const DeviceSample& sample : samples) {
    if (!std::isfinite(sample.power_w)) continue;
    Meter& meter = meters_.try_emplace(sample.rank, Meter{.since_s = sample.time_s}).first->second;
    meter.energy_j += sample.power_w * std::max(sample.time_s - meter.since_s, 0.0);
    meter.since_s = std::max(sample.time_s, meter.since_s);
  }
}

void AccountLedger::add_video(double video_s) {
  ++sums_.items;
  sums_.video_s += video_s;
}

std::map<int, RankTimes> AccountLedger::times() const {
  std::map<int, RankTimes> result = times_;
  for (const auto& [rank, span] : spans_) {
    of(result[rank], TimeName::between_phases).seconds +=
        std::max(span.end_s - span.begin_s - span.named_s, 0.0);
  }
  for (const auto& [rank, denoise_s] : denoise_s_) {
    RankTimes& times = result[rank];
    of(times, TimeName::between_steps).seconds =
        std::max(denoise_s - of(times, TimeName::steps).seconds, 0.0);
  }
  return result;
}

GroupSums AccountLedger::sums(const std::set<int>& ranks) const {
  GroupSums result = sums_;
  for (const auto& [rank, meter] : meters_) result.energy_j += meter.energy_j;
  result.unmetered = std::ranges::count_if(ranks, [&](int rank) { return !meters_.contains(rank); });
  return result;
}

}  // namespace wan::display
