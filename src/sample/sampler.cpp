#include "sample/sampler.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/check.h"
#include "model/guidance.h"

namespace wan::sample {

bool is_guided(const GuideScale& scale) { return model::is_guided(scale); }

Expert expert_of_step(int step, const SamplerSettings& settings) {
  const Schedule schedule = make_schedule(settings.solver, settings.steps, settings.shift);
  return expert_for(schedule.timesteps.at(static_cast<std::size_t>(std::min(step, schedule.steps() - 1))),
                    settings.boundary);
}

bool is_guided(int step, const SamplerSettings& settings) {
  return model::is_guided(guide_scale_for(expert_of_step(step, settings), settings.guide_scale));
}

int first_step_guided_otherwise(int from, const SamplerSettings& settings) {
  const bool is_first_guided = is_guided(from, settings);
  int step = from;
  while (step < settings.steps && is_guided(step, settings) == is_first_guided) ++step;
  return step;
}

Expert expert_after(int step, const SamplerSettings& settings) {
  return expert_of_step(step + 1 < settings.steps ? step + 1 : 0, settings);
}

int first_step_without(Expert expert, const SamplerSettings& settings, int from) {
  const Schedule schedule = make_schedule(settings.solver, settings.steps, settings.shift);
  const auto is_other = [&](float timestep) { return expert_for(timestep, settings.boundary) != expert; };
  const auto first = schedule.timesteps.begin() + std::min(from, schedule.steps());
  return static_cast<int>(std::find_if(first, schedule.timesteps.end(), is_other) -
                          schedule.timesteps.begin());
}

SamplerState sample(const SamplerSettings& settings, SamplerState state, const Denoiser& denoise,
                    const StepListener& on_step, const StepGate& gate) {
  const Schedule schedule = make_schedule(settings.solver, settings.steps, settings.shift);
  WAN_CHECK(state.steps_done >= 0 && state.steps_done <= schedule.steps(), "{} of {} steps done",
            state.steps_done, schedule.steps());
  const auto solver = make_solver(settings.solver, schedule, settings.bf16_terms);
  if (state.steps_done > 0 && state.steps_done < schedule.steps()) {
    solver->restore(state.steps_done, state.history);
  }
  const auto put_back = [&](const at::Tensor& x) {
    const at::Tensor& known = settings.known_rows;
    if (known.defined()) x.narrow(0, 0, known.size(0)).copy_(known);
  };
  put_back(state.x);
  while (true) {
    if (gate && !gate(state)) return state;
    const int i = state.steps_done;
    if (i == schedule.steps()) return state;
    state.history.clear();  // otherwise tensors that the solver no longer needs would live for another step
    const Expert expert = expert_for(schedule.timesteps[i], settings.boundary);
    const double scale = guide_scale_for(expert, settings.guide_scale);
    const StepRequest request{
        .index = i, .timestep = schedule.timesteps[i], .expert = expert, .guided = model::is_guided(scale)};
    const Prediction prediction = denoise(state.x, request);
    const at::Tensor velocity =
        request.guided
            ? prediction.unconditional + (prediction.conditional - prediction.unconditional) * scale
            : prediction.conditional;
    const bool keeps_clean =
        settings.clean_from > 0 && i + 1 >= settings.clean_from && i + 1 < schedule.steps();
    state.clean = keeps_clean ? state.x - velocity * schedule.sigmas[i] : at::Tensor();
    if (keeps_clean) put_back(state.clean);
    state.x = solver->step(i, state.x, velocity);
    put_back(state.x);
    state.steps_done = i + 1;
    if (state.steps_done < schedule.steps()) state.history = solver->history();
    if (on_step) on_step(request, prediction, state.x);
  }
}

}  // namespace wan::sample
