#include "batch/item_control.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "wan/storage_error.h"

namespace wan::batch {

void ItemControl::note_time(int steps_done) {
  const double seconds = since_action_.elapsed_s();
  since_action_ = Stopwatch();
  if (!last_steps_done_) {
    if (growth_.width() == 1) tools_.stop.clock().took_preparation(seconds);
    saver_.begin_interval();
  } else if (steps_done > *last_steps_done_) {
    step_s_ = seconds;
    tools_.stop.clock().took_step(seconds);
  }
  last_steps_done_ = steps_done;
}

StepAction ItemControl::next_action(int steps_done, int step_count) {
  tools_.writers.settle();
  note_time(steps_done);
  show_progress(steps_done, step_count);
  const int last_step = draft_step_ > 0 ? std::min(draft_step_, step_count) : step_count;
  if (steps_done >= last_step) await_writer();
  if (tools_.stop.stops_at_step(steps_done, step_count)) return StepAction::stop;
  if (growth_.is_worth_joining(item_.parameters.request, last_step - steps_done, step_s_)) {
    return StepAction::hand_over;
  }
  return saver_.is_due(steps_done, step_count) ? StepAction::save : StepAction::go_on;
}

/// An item that was expected to wait for the second expert has begun without room among the writers. If it
/// needs no second expert, its frames need that room now.
void ItemControl::await_writer() {
  if (!item_.first_expert_only) return;
  tools_.writers.await_room();
  since_action_ = Stopwatch();  // the waiting is no part of what comes next
}

void ItemControl::show_progress(int steps_done, int step_count) const {
  tools_.claims.show_progress(store::ClaimProgress{.id = item_.row.id,
                                                   .phase = steps_done < step_count ? "denoise" : "decode",
                                                   .step = steps_done,
                                                   .steps = step_count,
                                                   .step_s = step_s_});
}

void ItemControl::on_state(int steps_done) {
  const auto describe = [&](const Error& error) {
    return fmt::format("{}: the state after {} steps could not be saved: {}", item_.row.id, steps_done,
                       error.what());
  };
  try {
    saver_.publish(item_, steps_done, tools_.claims.owner().token);
    tools_.stop.clock().took_saving(since_action_.elapsed_s());
    since_action_ = Stopwatch();  // the saving is no part of the next step
  } catch (const StorageError& error) {
    on_storage_problem(describe(error));
  } catch (const Error& error) {
    on_state_problem(describe(error));
  }
}

void ItemControl::on_state_problem(const std::string& message) {
  saver_.begin_interval();  // the next step is not to try again at once
  state_problem_ = message;
  tools_.log.warn("{}", message);
}

/// The steps of the other items could not be saved either, so the run ends.
void ItemControl::on_storage_problem(const std::string& message) {
  on_state_problem(message);
  tools_.stop.note_storage_problem(message);
}

void ItemControl::on_outputs(std::unique_ptr<UnwrittenOutputs> outputs) {
  if (tools_.writers.are_in_background()) {
    outputs_ = std::move(outputs);
  } else {
    RunControl::on_outputs(std::move(outputs));
  }
}

StepAction FollowerControl::next_action(int /*steps_done*/, int /*step_count*/) {
  const auto& is_requested = context_.stop.is_requested;
  return is_requested && is_requested() ? StepAction::stop : StepAction::go_on;
}

}  // namespace wan::batch
