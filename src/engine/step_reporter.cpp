#include "engine/step_reporter.h"

#include <algorithm>
#include <utility>

#include "engine/latent_digest.h"

namespace wan::engine {

void StepReporter::begin_steps(int step_count, int steps_before) {
  step_count_ = step_count;
  steps_before_ = steps_before;
  begin_step();
}

void StepReporter::begin_step() {
  step_start_s_ = run_clock_.elapsed_s();
  sent_before_step_ = group_.sent_bytes();
}

void StepReporter::end_step(const sample::StepRequest& step, const StepTimes& times) {
  const StepEvent event{.world_rank = group_.world_rank,
                        .group_rank = group_.group->rank(),
                        .group_ranks = group_.group->size(),
                        .step = steps_before_ + step.index,
                        .step_count = step_count_,
                        .timestep = step.timestep,
                        .expert = step.expert,
                        .start_s = step_start_s_,
                        .wall_s = times.wall_s,
                        .part_wall_s = times.part_s,
                        .part_gpu_s = times.gpu_part_s,
                        .sent_bytes = group_.sent_bytes() - sent_before_step_,
                        .vram_allocated_bytes = times.memory.allocated_bytes,
                        .vram_reserved_bytes = times.memory.reserved_bytes,
                        .vram_peak_bytes = times.memory.peak_allocated_bytes,
                        .latent_digest = times.digest_share};
  ended_ = event;
  step_s_.push_back(times.wall_s);
}

void StepReporter::report_step() {
  if (!ended_) return;
  const StepEvent own = *std::exchange(ended_, std::nullopt);
  comm::Communicator& group = *group_.group;
  std::vector<StepEvent> events(static_cast<std::size_t>(group.size()));
  group.all_gather(std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(events))).wait();
  if (group.rank() == leader_rank_) {
    std::vector<std::int64_t> shares(events.size());
    std::ranges::transform(events, shares.begin(), &StepEvent::latent_digest);
    const std::int64_t digest = latent_digest(shares);
    for (StepEvent& event : events) {
      event.latent_digest = digest;
      observer_.on_step(event);
    }
  }
  report_samples();
}

void StepReporter::add_phase(const RankPhase& phase) {
  PhaseRow row{.world_rank = group_.world_rank,
               .is_told = phase.is_told ? 1 : 0,
               .start_s = phase.start_s,
               .wall_s = phase.wall_s,
               .sent_bytes = phase.sent_bytes,
               .merged_bytes = phase.merged_bytes};
  phase.phase.copy(row.phase.data(), row.phase.size() - 1);
  phases_.push_back(row);
}

void StepReporter::report_phases() {
  const std::vector<PhaseRow> rows = gather(std::exchange(phases_, {}), PhaseRow());
  if (group_.group->rank() != leader_rank_) return;
  std::vector<PhaseEvent> events;
  for (const PhaseRow& row : rows) {
    if (row.world_rank < 0 || (row.is_told != 0 && row.world_rank == group_.world_rank)) continue;
    events.push_back({.phase = row.phase.data(),
                      .start_s = row.start_s,
                      .wall_s = row.wall_s,
                      .sent_bytes = row.sent_bytes,
                      .world_rank = row.world_rank,
                      .merged_bytes = row.merged_bytes});
  }
  if (!events.empty()) observer_.on_rank_phases(events);
}

void StepReporter::report_samples() {
  if (monitor_ == nullptr) return;
  std::vector<DeviceSample> own;
  for (const gpu::Sample& sample : monitor_->take()) own.push_back(device_sample(sample, group_.world_rank));
  std::vector<DeviceSample> all = gather(std::move(own), DeviceSample{.rank = -1});
  std::erase_if(all, [](const DeviceSample& sample) { return sample.rank < 0; });
  if (group_.group->rank() == leader_rank_ && !all.empty()) observer_.on_samples(all);
}

template <typename Row>
std::vector<Row> StepReporter::gather(std::vector<Row> own, const Row& none) {
  comm::Communicator& group = *group_.group;
  auto most = static_cast<std::int64_t>(own.size());
  group.all_reduce(std::span(&most, 1), comm::ReduceOp::max).wait();
  own.resize(static_cast<std::size_t>(most), none);
  std::vector<Row> all(static_cast<std::size_t>(group.size()) * own.size());
  group.all_gather(std::as_bytes(std::span(own)), std::as_writable_bytes(std::span(all))).wait();
  return all;
}

DeviceSample device_sample(const gpu::Sample& sample, int world_rank) {
  return {.time_s = sample.time_s,
          .rank = world_rank,
          .vram_used_bytes = sample.used_bytes,
          .power_w = sample.power_w,
          .temperature_c = sample.temperature_c,
          .sm_clock_mhz = sample.sm_clock_mhz,
          .throttle_reasons = sample.throttle_reasons};
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  if (values.size() % 2 == 1) return *middle;
  return (*std::max_element(values.begin(), middle) + *middle) / 2;
}

}  // namespace wan::engine
