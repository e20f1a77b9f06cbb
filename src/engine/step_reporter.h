#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "engine/denoiser.h"
#include "gpu/monitor.h"
#include "parallel/layout.h"
#include "wan/engine.h"

namespace wan::engine {

/// A phase of this rank on its way to the leader.
struct RankPhase {
  std::string_view phase;  ///< at most 15 characters
  double start_s = 0;
  double wall_s = 0;
  std::uint64_t sent_bytes = 0;
  bool is_told = false;            ///< the observer has heard of it by on_phase()
  std::uint64_t merged_bytes = 0;  ///< PhaseEvent::merged_bytes
};

/// A reading of this rank's GPU as the observer hears it.
DeviceSample device_sample(const gpu::Sample& sample, int world_rank);

/// Sends the step events, phases and GPU samples of all ranks of a team to the observer of its leader.
class StepReporter {
 public:
  /// Everything must outlive the reporter; `monitor` is null on the CPU, `observer` is used on the leader
  /// only.
  StepReporter(parallel::GroupCommunicators& group, int leader_rank, gpu::Monitor* monitor,
               const Stopwatch& run_clock, Observer& observer)
      : group_(group),
        leader_rank_(leader_rank),
        monitor_(monitor),
        run_clock_(run_clock),
        observer_(observer) {}

  /// Begins to count for the first step of a request. Call it just before that step.
  /// `step_count`: steps of all clips; `steps_before`: steps of the clips before this one.
  void begin_steps(int step_count, int steps_before = 0);
  /// Begins to count for the next step. Time and traffic since the last step count for no step.
  void begin_step();
  /// Keeps the event of the step that ended on this rank.
  void end_step(const sample::StepRequest& step, const StepTimes& times);
  /// Reports the step that ended since the last call, if one did. Collective over the team.
  void report_step();
  /// Keeps a phase of this rank for report_phases().
  void add_phase(const RankPhase& phase);
  /// Reports the phases of all ranks since the last call. Collective over the team; never call it in a step.
  void report_phases();
  /// Reports the samples of all GPUs since the last call. Collective over the team.
  void report_samples();

  /// Wall seconds of this rank's steps since begin_steps().
  const std::vector<double>& own_seconds() const { return step_s_; }

 private:
  /// The form in which a phase travels.
  struct PhaseRow {
    std::array<char, 16> phase{};
    std::int32_t world_rank = -1;  ///< -1: no phase
    std::int32_t is_told = 0;
    double start_s = 0;
    double wall_s = 0;
    std::uint64_t sent_bytes = 0;
    std::uint64_t merged_bytes = 0;
  };
  /// The lists of all ranks, one after the other, on every rank. `none` fills the shorter ones up.
  template <typename Row>
  std::vector<Row> gather(std::vector<Row> own, const Row& none);

  parallel::GroupCommunicators& group_;
  int leader_rank_;  ///< in the team
  gpu::Monitor* monitor_;
  const Stopwatch& run_clock_;
  Observer& observer_;
  int step_count_ = 0;
  int steps_before_ = 0;
  double step_start_s_ = 0;
  std::uint64_t sent_before_step_ = 0;
  std::vector<double> step_s_;
  /// Not reported yet; its digest is this rank's share.
  std::optional<StepEvent> ended_;
  std::vector<PhaseRow> phases_;  ///< not reported yet
};

/// The median, of an even number of values the mean of the two middle ones; 0 of an empty list.
double median(std::vector<double> values);

}  // namespace wan::engine
