#include "engine/request_run.h"

#include <utility>

#include "core/check.h"
#include "gpu/memory.h"
#include "gpu/part_timer.h"
#include "wan/storage_error.h"

namespace wan::engine {

double gibibytes(std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

RequestRun::RequestRun(const RunSetup& setup)
    : setup_(setup),
      meeting_(*setup.team.group, setup.leader_rank,
               {.describe = [this](const c10::OutOfMemoryError& shortage) { return describe(shortage); },
                .release = setup.release}),
      reporter_(setup.team, setup.leader_rank, setup.monitor, setup.clock, setup.observer) {}

RequestReport RequestRun::execute() {
  run_stages();
  return report_;
}

RequestReport RequestRun::join(std::unique_ptr<HandOver> taken_over) {
  phase("join", [&] { take_over(std::move(taken_over)); });
  run_stages();
  return report_;
}

void RequestRun::run_stages() {
  const Pipeline& pipeline = setup_.pipeline;
  const std::optional<ClipLoop>& loop = pipeline.loop();
  while (stage_ < pipeline.stages().size()) {
    if (loop && stage_ == loop->first) clips_ = loop->clips(*this);
    run_stage(*pipeline.stages()[stage_]);
    if (report_.end != RunEnd::finished) break;
    ++stage_;
    if (loop && stage_ == loop->end && clip_ + 1 < clips_) next_clip();
  }
  report_.size = size_;
  report_.frames = setup_.request.frame_num;
  report_.median_step_s = median(reporter_.own_seconds());
}

void RequestRun::next_clip() {
  ++clip_;
  stage_ = setup_.pipeline.loop()->first;
  state_ = {};
  values_.drop("latent");
}

void RequestRun::run_stage(Stage& stage) {
  if (!stage.is_needed(*this)) return;
  const auto work = [&] { stage.run(*this); };
  try {
    if (stage.phase().empty()) {
      work();
    } else {
      phase(stage.phase(), work);
    }
  } catch (const MemoryError&) {
    keep_steps();
    throw;
  } catch (const StorageError&) {
    keep_steps();
    throw;
  }
}

void RequestRun::phase(std::string_view name, const std::function<void()>& work) {
  const double start_s = setup_.clock.elapsed_s();
  const std::uint64_t sent_before = setup_.team.sent_bytes();
  const std::string phase(name);
  meeting_.set_phase(phase);
  if (setup_.on_phase) setup_.on_phase(phase);
  {
    const gpu::Range range(phase.c_str());
    work();
    if (setup_.gpu != nullptr) {
      gpu::synchronize();
      gpu::release_unused();
    }
  }
  const double wall_s = setup_.clock.elapsed_s() - start_s;
  report_.phase_s[phase] += wall_s;
  if (meeting_.leads()) {
    setup_.observer.on_phase({.phase = phase,
                              .start_s = start_s,
                              .wall_s = wall_s,
                              .sent_bytes = setup_.team.sent_bytes() - sent_before});
  }
  meeting_.await_leader();  // which has written to its trace
  reporter_.report_samples();
}

std::string RequestRun::describe(const c10::OutOfMemoryError& shortage) const {
  const std::string what = shortage.what_without_backtrace();
  std::string where = fmt::format("rank {}", setup_.team.world_rank);
  if (setup_.gpu != nullptr) {
    where = fmt::format("the GPU of rank {}, of whose {:.1f} GiB {:.1f} are in use,", setup_.team.world_rank,
                        gibibytes(static_cast<std::int64_t>(setup_.gpu->total_bytes)),
                        gibibytes(static_cast<std::int64_t>(gpu::used_bytes())));
  }
  return fmt::format("{} has too little memory for a video of {}x{} with {} frames ({}); {}", where,
                     size_.width, size_.height, setup_.request.frame_num, what.substr(0, what.find('\n')),
                     setup_.memory_remedy);
}

bool RequestRun::pass(int steps_done, const std::function<DenoiseState()>& gather) {
  const int all_done = steps_before() + steps_done;
  report_.steps_done = all_done;
  meeting_.meet(std::nullopt);
  reporter_.report_step();
  const StepAction action =
      meeting_.most_urgent(setup_.control.next_action(all_done, clips_ * setup_.request.sample_steps));
  if (action == StepAction::hand_over) {
    report_.end = RunEnd::handed_over;
    meeting_.with_memory([&] { state_ = gather(); });
    if (meeting_.leads()) {
      handed_over_ = std::make_unique<HandOver>(HandOver{.state = state_,
                                                         .values = values_,
                                                         .size = size_,
                                                         .stage = stage_,
                                                         .steps_done = all_done,
                                                         .clips = clips_});
    }
    return false;
  }
  if (action != StepAction::go_on && all_done > steps_saved_) {
    DenoiseState state;
    meeting_.with_memory([&] { state = gather(); });
    save_state(std::move(state));
    meeting_.await_leader();
    steps_saved_ = all_done;
  }
  if (action == StepAction::stop) report_.end = RunEnd::stopped;
  reporter_.begin_step();
  return action != StepAction::stop;
}

}  // namespace wan::engine
