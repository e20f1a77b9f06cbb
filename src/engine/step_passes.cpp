#include "engine/step_passes.h"

#include <algorithm>

#include "model/guidance.h"
#include "sample/schedule.h"

namespace wan::engine {

int count_unguided_steps(const Request& request, int steps) {
  const bool is_low_guided = model::is_guided(request.guide_scale.low_noise);
  if (is_low_guided == model::is_guided(request.guide_scale.high_noise)) return is_low_guided ? 0 : steps;
  const sample::Schedule schedule =
      sample::make_schedule(request.solver, request.sample_steps, request.sample_shift);
  const auto is_unguided = [&](float timestep) {
    const Expert expert = sample::expert_for(timestep, request.boundary);
    return !model::is_guided(sample::guide_scale_for(expert, request.guide_scale));
  };
  const auto first = schedule.timesteps.begin();
  return static_cast<int>(std::count_if(first, first + std::min(steps, schedule.steps()), is_unguided));
}

}  // namespace wan::engine
