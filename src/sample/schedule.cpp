#include "sample/schedule.h"

#include "core/check.h"

namespace wan::sample {

Schedule make_schedule(Solver solver, int steps, double shift) {
  WAN_CHECK(steps >= 1, "steps = {}", steps);
  const double start = solver_rows()[static_cast<std::size_t>(solver)].first_sigma;
  const double increment = (0.0 - start) / steps;
  Schedule schedule;
  for (int i = 0; i < steps; ++i) {
    const double uniform = i * increment + start;
    const double shifted = shift * uniform / (1.0 + (shift - 1.0) * uniform);
    schedule.timesteps.push_back(static_cast<int>(shifted * training_timesteps));  // truncated, not rounded
    schedule.sigmas.push_back(static_cast<float>(shifted));
  }
  schedule.sigmas.push_back(0.0F);
  return schedule;
}

Expert expert_for(int timestep, std::optional<double> boundary) {
  if (!boundary) return Expert::single;
  return timestep >= *boundary * training_timesteps ? Expert::high_noise : Expert::low_noise;
}

double guide_scale_for(Expert expert, const GuideScale& scale) {
  return expert == Expert::high_noise ? scale.high_noise : scale.low_noise;
}

}  // namespace wan::sample
