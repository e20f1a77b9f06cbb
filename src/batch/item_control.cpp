#include "batch/item_control.h"

#include <algorithm>

#include "core/check.h"
#include "core/log.h"
#include "wan/storage_error.h"

namespace wan::batch {
namespace {

/// Before decoding a state is saved at once if less than an interval's, but at least so much work would be
/// lost: making that much again costs less than looking after another file.
constexpr double least_worth_saving_s = 5;

}  // namespace

std::vector<int> ItemInHand::resumed_at() const {
  if (!before) return {};
  std::vector<int> steps = before->resumed_at;
  steps.push_back(before->steps_done);
  return steps;
}

ItemControl::ItemControl(const ItemInHand& item, int width, int ranks, const Engine& engine,
                         const RunContext& context, LeaderTools& tools)
    : item_(item),
      width_(width),
      ranks_(ranks),
      engine_(engine),
      context_(context),
      tools_(tools),
      states_(context.folder.states()) {}

void ItemControl::note_time(int steps_done) {
  const double seconds = since_action_.elapsed_s();
  since_action_ = Stopwatch();
  if (!last_steps_done_) {
    if (width_ == 1) tools_.clock.took_preparation(seconds);
    since_save_ = Stopwatch();
  } else if (steps_done > *last_steps_done_) {
    step_s_ = seconds;
    tools_.clock.took_step(seconds);
  }
  last_steps_done_ = steps_done;
}

StepAction ItemControl::next_action(int steps_done, int step_count) {
  note_time(steps_done);
  show_progress(steps_done, step_count);
  if (has_to_stop(steps_done, step_count)) return StepAction::stop;
  if (is_worth_joining(step_count - steps_done)) return StepAction::hand_over;
  return is_time_to_save(steps_done, step_count) ? StepAction::save : StepAction::go_on;
}

bool ItemControl::has_to_stop(int steps_done, int step_count) {
  StopClock& clock = tools_.clock;
  tools_.teams.read_letters();
  if (tools_.teams.has_heard_stop()) clock.ask();
  if (tools_.has_storage_problem() || clock.is_asked()) {
    tools_.teams.announce_stop();
    return true;
  }
  // The other groups look at their own clocks: they may have shorter steps, or be nearer to the end.
  return steps_done < step_count ? clock.is_too_late_for_step() : clock.is_too_late_for_ending();
}

bool ItemControl::is_worth_joining(int steps_left) {
  if (!item_.may_be_joined) return false;
  for (int width = tools_.teams.idle_width(); width > width_; width /= 2) {
    if (!engine_.can_team(item_.parameters.request, width)) continue;
    next_width_ = width;
    const double gain_s = steps_left * step_s_ * (1.0 - static_cast<double>(width_) / width);
    return steps_left > 0 && gain_s >= context_.join_worth_s;
  }
  return false;
}

bool ItemControl::is_time_to_save(int steps_done, int step_count) const {
  if (steps_done == 0) return false;
  const double interval_s = context_.checkpoint_interval_s;
  const double due_s = steps_done == step_count ? std::min(interval_s, least_worth_saving_s) : interval_s;
  return since_save_.elapsed_s() >= due_s;
}

void ItemControl::show_progress(int steps_done, int step_count) const {
  tools_.claims.show_progress(store::ClaimProgress{.id = item_.row.id,
                                                   .phase = steps_done < step_count ? "denoise" : "decode",
                                                   .step = steps_done,
                                                   .steps = step_count,
                                                   .step_s = step_s_});
}

void ItemControl::on_state(int steps_done) {
  try {
    // Whoever took the item over has states of its own.
    if (!item_.claim.is_held()) fail("another process took the item over");
    states_.publish(item_.row.id, tools_.claims.owner().token,
                    {.parameters = item_.parameters,
                     .steps_done = steps_done,
                     .seconds = item_.seconds(),
                     .gpu_seconds = context_.on_gpu ? item_.gpu_seconds(ranks_) : 0,
                     .energy_j = item_.energy_j(),
                     .resumed_at = item_.resumed_at(),
                     .origin = item_.origin});
    steps_saved_ = steps_done;
    since_save_ = Stopwatch();
  } catch (const Error& error) {
    const std::string message = fmt::format("{}: the state after {} steps could not be saved: {}",
                                            item_.row.id, steps_done, error.what());
    if (dynamic_cast<const StorageError*>(&error) != nullptr) {
      on_storage_problem(message);
    } else {
      on_state_problem(message);
    }
  }
}

void ItemControl::on_state_problem(const std::string& message) {
  since_save_ = Stopwatch();  // not again at every step
  if (context_.log != nullptr) context_.log->warn("{}", message);
}

/// The steps of the other items could be saved no better: the run ends.
void ItemControl::on_storage_problem(const std::string& message) {
  on_state_problem(message);
  tools_.storage_problem = message;
}

bool LeaderTools::has_storage_problem() {
  if (storage_problem.empty()) storage_problem = observer.storage_problem();
  if (storage_problem.empty() && log != nullptr) storage_problem = log->storage_problem();
  return !storage_problem.empty();
}

StepAction FollowerControl::next_action(int /*steps_done*/, int /*step_count*/) {
  return context_.stop_requested && context_.stop_requested() ? StepAction::stop : StepAction::go_on;
}

}  // namespace wan::batch
