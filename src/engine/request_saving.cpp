// A request that is left in the middle and gone on with: by a saved state, or by a larger team.
#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/check.h"
#include "engine/request_run.h"
#include "engine/request_state.h"
#include "wan/storage_error.h"

namespace wan::engine {
namespace {

std::string describe_loss(const std::string& id, int steps_done, const Error& error) {
  return fmt::format("{}: the state after {} steps could not be saved: {}", id, steps_done, error.what());
}

}  // namespace

void RequestRun::restore(at::IntArrayRef latent_shape) {
  const std::optional<ClipLoop>& loop = setup_.pipeline.loop();
  if (loop) clips_ = loop->clips(*this);
  const int steps = setup_.request.sample_steps;
  SavedRequest saved;  // without steps: none
  if (meeting_.leads() && !setup_.outputs.resume_from.empty()) {
    try {
      saved = read_request_state(setup_.outputs.resume_from,
                                 {.identity = setup_.identity,
                                  .latent_shape = latent_shape.vec(),
                                  .most_steps = clips_ * steps,
                                  .carried = loop ? loop->carried : std::vector<std::string>(),
                                  .step_latents = setup_.outputs.step_latents});
    } catch (const Error& error) {
      setup_.control.on_state_problem(
          fmt::format("{}: the state in {} cannot be used, so the item begins anew: {}", setup_.request.id,
                      setup_.outputs.resume_from.string(), error.what()));
    }
  }
  if (!setup_.outputs.draft.is_wanted()) saved.state.clean.reset();  // of a draft that is gone on with
  meeting_.await_leader();
  broadcast_state(meeting_.group(), meeting_.leader_rank(), saved.state);
  if (saved.state.steps_done == 0) return;
  state_ = std::move(saved.state);
  step_latents_ = std::move(saved.step_latents);
  begin_at(state_.steps_done);
  steps_saved_ = report_.steps_done;
  if (loop) {
    values_.add(std::move(saved.carried));
    values_.broadcast(meeting_.group(), meeting_.leader_rank());
  }
}

/// `steps_done`: of all clips.
void RequestRun::begin_at(int steps_done) {
  report_.first_step = report_.steps_done = steps_done;
  clip_ = std::max(steps_done - 1, 0) / setup_.request.sample_steps;
  state_.steps_done = steps_done - steps_before();
}

/// `state`: between two steps of the clip under way. A request that waits for an expert does so in host
/// memory.
void RequestRun::hand_over(DenoiseState state, RunEnd end) {
  report_.end = end;
  state_ = std::move(state);
  if (!meeting_.leads()) return;
  handed_over_ =
      std::make_unique<HandOver>(HandOver{.state = state_,
                                          .values = end == RunEnd::waits ? values_.on_host() : values_,
                                          .size = size_,
                                          .stage = stage_,
                                          .steps_done = report_.steps_done,
                                          .steps_saved = steps_saved_,
                                          .clips = clips_,
                                          .step_latents = std::move(step_latents_)});
}

void RequestRun::take_over(std::unique_ptr<HandOver> taken_over) {
  WAN_CHECK(!meeting_.leads() || taken_over != nullptr, "nothing was handed over");
  std::array<std::int64_t, 6> numbers{};  // width, height, stage, steps done of all clips, clips, steps saved
  if (meeting_.leads()) {
    state_ = std::move(taken_over->state);
    values_ = std::move(taken_over->values);
    step_latents_ = std::move(taken_over->step_latents);
    numbers = {taken_over->size.width, taken_over->size.height, static_cast<std::int64_t>(taken_over->stage),
               taken_over->steps_done, taken_over->clips,       taken_over->steps_saved};
  }
  comm::Communicator& group = meeting_.group();
  group.broadcast(std::as_writable_bytes(std::span(numbers)), meeting_.leader_rank()).wait();
  size_ = {.width = static_cast<int>(numbers[0]), .height = static_cast<int>(numbers[1])};
  stage_ = static_cast<std::size_t>(numbers[2]);
  broadcast_state(group, meeting_.leader_rank(), state_);
  values_.broadcast(group, meeting_.leader_rank());
  clips_ = static_cast<int>(numbers[4]);
  begin_at(static_cast<int>(numbers[3]));
  steps_saved_ = static_cast<int>(numbers[5]);
}

StageValues RequestRun::carried_values() const {
  const std::optional<ClipLoop>& loop = setup_.pipeline.loop();
  return loop ? values_.copy_of(loop->carried) : StageValues();
}

Made RequestRun::take_made() {
  StageValues carried = carried_values();  // which may hold frames
  return {.frames = std::exchange(values_.on_leader("frames"), {}),
          .latent = values_.get("latent"),
          .steps_done = report_.steps_done,
          .identity = setup_.identity,
          .carried = std::move(carried),
          .step_latents = step_latents_};
}

void RequestRun::save_state(DenoiseState state) {
  if (!meeting_.leads() || setup_.outputs.state.empty()) return;
  state.steps_done = report_.steps_done;
  try {
    write_request_state(setup_.outputs.state,
                        {.state = state, .carried = carried_values(), .step_latents = step_latents_},
                        setup_.identity);
  } catch (const StorageError& error) {
    setup_.control.on_storage_problem(describe_loss(setup_.request.id, state.steps_done, error));
    return;
  } catch (const Error& error) {
    setup_.control.on_state_problem(describe_loss(setup_.request.id, state.steps_done, error));
    return;
  }
  setup_.control.on_state(state.steps_done);
}

void RequestRun::keep_steps() {
  const at::Tensor latent = values_.get("latent");  // there after the last step of a clip
  if (!meeting_.leads() || !latent.defined() || report_.steps_done <= steps_saved_) return;
  save_state({.steps_done = 0, .latent = latent.cpu(), .history = {}});
}

}  // namespace wan::engine
