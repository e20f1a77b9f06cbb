#include "engine/request_run.h"

#include <utility>

#include "core/check.h"
#include "engine/preview.h"
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
      reporter_(setup.team, setup.leader_rank, setup.monitor, setup.clock, setup.observer),
      last_phase_end_s_(setup.begun_s) {}

RequestReport RequestRun::execute() {
  return report_to_end([&] { run_stages(); });
}

RequestReport RequestRun::join(std::unique_ptr<HandOver> taken_over) {
  return report_to_end([&] {
    // The phase began when this rank was called: the team's ranks may have been connected since.
    phase("join", setup_.begun_s, [&] { take_over(std::move(taken_over)); });
    run_stages();
  });
}

RequestReport RequestRun::go_on(std::unique_ptr<HandOver> waited) {
  return report_to_end([&] {
    take_over(std::move(waited));
    run_stages();
  });
}

/// All ranks throw the same ItemError, so that the phases up to it can still be gathered.
RequestReport RequestRun::report_to_end(const std::function<void()>& work) {
  for (const RankPhase& before : setup_.before) reporter_.add_phase(before);
  try {
    work();
  } catch (const ItemError&) {
    reporter_.report_phases();
    throw;
  }
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
  if (preview_.defined()) {
    report_.end = RunEnd::drafted;
    const PreviewShape shape = preview_shape(preview_, setup_.outputs.draft, setup_.geometry);
    report_.size = shape.size;
    report_.frames = shape.frames;
  }
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
      phase(stage.phase(), setup_.clock.elapsed_s(), work);
    }
  } catch (const MemoryError&) {
    keep_steps();
    throw;
  } catch (const StorageError&) {
    keep_steps();
    throw;
  }
}

void RequestRun::phase(std::string_view name, double start_s, const std::function<void()>& work) {
  const std::uint64_t sent_before = setup_.team.sent_bytes();
  const std::string phase(name);
  meeting_.set_phase(phase);
  if (setup_.on_phase) setup_.on_phase(phase);
  RankPhase own{.phase = phase, .start_s = start_s};
  const auto end = [&] {
    last_phase_end_s_ = setup_.clock.elapsed_s();
    own.wall_s = last_phase_end_s_ - start_s;
    own.sent_bytes = setup_.team.sent_bytes() - sent_before;
    own.merged_bytes = std::exchange(merged_bytes_, 0);
    reporter_.add_phase(own);
  };
  try {
    const gpu::Range range(phase.c_str());
    work();
    if (setup_.gpu != nullptr) {
      gpu::wait_for_compute();  // the next expert's weights may be on their way
      gpu::release_where_scarce();
    }
  } catch (const ItemError&) {
    end();
    throw;
  }
  own.is_told = meeting_.leads();
  end();
  report_.phase_s[phase] += own.wall_s;
  if (meeting_.leads()) {
    setup_.observer.on_phase({.phase = phase,
                              .start_s = own.start_s,
                              .wall_s = own.wall_s,
                              .sent_bytes = own.sent_bytes,
                              .world_rank = setup_.team.world_rank,
                              .merged_bytes = own.merged_bytes});
  }
  meeting_.await_leader();  // whose observer may take its time
  reporter_.report_phases();
  reporter_.report_samples();
}

void RequestRun::begin_steps(StretchEvent stretch) {
  stretch.first_step += steps_before();
  stretch.start_s = setup_.clock.elapsed_s();
  if (meeting_.leads()) setup_.observer.on_stretch(stretch);
  reporter_.begin_steps(clips_ * setup_.request.sample_steps, steps_before());
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

/// `steps_done`: of all clips. A state that was saved without its clean sample needs one step more.
bool RequestRun::is_draft_due(int steps_done) const {
  const int after_step = setup_.outputs.draft.after_step;
  const bool is_wanted = after_step > 0 && steps_done >= after_step;
  if (!is_wanted || steps_done >= clips_ * setup_.request.sample_steps) return false;
  return steps_done > report_.first_step || state_.clean.defined();
}

bool RequestRun::has_to_wait(int clip_steps_done) const {
  return setup_.outputs.first_expert_only && wait_before_ && clip_steps_done >= *wait_before_ &&
         clip_steps_done < setup_.request.sample_steps;
}

void RequestRun::in_phase(std::string_view name, const std::function<void()>& work) {
  phase(name, setup_.clock.elapsed_s(), work);
}

bool RequestRun::pass(int steps_done, const std::function<DenoiseState()>& gather) {
  const int all_done = steps_before() + steps_done;
  report_.steps_done = all_done;
  meeting_.meet(std::nullopt);
  reporter_.report_step();
  const StepAction action =
      meeting_.most_urgent(setup_.control.next_action(all_done, clips_ * setup_.request.sample_steps));
  const bool drafts = is_draft_due(all_done) && action != StepAction::stop;
  const bool hands_over = action == StepAction::hand_over && !drafts;
  const bool waits = has_to_wait(steps_done) && !drafts && action != StepAction::stop;
  const bool saves =
      !hands_over && (drafts || waits || action != StepAction::go_on) && all_done > steps_saved_;
  const bool keeps = setup_.outputs.step_latents && all_done > report_.first_step;
  DenoiseState state;
  if (hands_over || saves || drafts || waits || keeps) meeting_.with_memory([&] { state = gather(); });
  if (keeps && meeting_.leads()) step_latents_.insert_or_assign(all_done - 1, state.latent);
  if (hands_over) {
    hand_over(std::move(state), RunEnd::handed_over);
    return false;
  }
  if (drafts) preview_ = state.clean;
  if (saves) save_state(state);
  if (saves || drafts) {
    meeting_.await_leader();
    steps_saved_ = all_done;
  }
  if (waits) hand_over(std::move(state), RunEnd::waits);
  if (action == StepAction::stop) report_.end = RunEnd::stopped;
  reporter_.begin_step();
  return action != StepAction::stop && !drafts && !waits;
}

}  // namespace wan::engine
