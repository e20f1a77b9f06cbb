#pragma once

#include <optional>
#include <vector>

#include "core/clock.h"
#include "engine/denoise_stage.h"
#include "gpu/monitor.h"
#include "parallel/layout.h"
#include "wan/engine.h"

namespace wan::engine {

/// Brings the events and GPU samples of all ranks of a team to its leader's observer.
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

  /// Before the first step of a request: what is sent and waited for from now on belongs to it.
  /// `steps_before`: steps of earlier clips, of the `step_count` of all clips.
  void begin_steps(int step_count, int steps_before = 0);
  /// What was sent and waited for since the last step does not belong to the next.
  void begin_step();
  /// Notes what the step was on this rank.
  void end_step(const sample::StepRequest& step, const StepTimes& times);
  /// Tells of the step that has ended, if one has since the last call. Collective over the team.
  void report_step();
  /// Collective over the team.
  void report_samples();

  /// Wall seconds of this rank's steps since begin_steps().
  const std::vector<double>& own_seconds() const { return step_s_; }

 private:
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
  std::optional<StepEvent> ended_;  ///< not told of yet
};

/// The middle of a list of seconds, the upper one of two; 0 if it is empty.
double median(std::vector<double> values);

}  // namespace wan::engine
