#include "sample/schedule.h"

#include "core/check.h"

namespace wan::sample {
namespace {

/// The fp32 product, rounded on its own: the double product is exact, and no compiler fuses it into a sum.
float product(float a, float b) { return static_cast<float>(static_cast<double>(a) * b); }

/// The grid of distilled models: computed in fp64, rounded to fp32, then bent in fp32 (model.md 6.7).
Schedule make_lightning_schedule(int steps, double shift) {
  const auto s = static_cast<float>(shift);
  const auto s_minus_1 = static_cast<float>(shift - 1.0);
  Schedule schedule;
  for (int i = 0; i < steps; ++i) {
    const auto a = static_cast<float>(training_timesteps + i * (-1.0 * training_timesteps / steps));
    const float u = a / training_timesteps;
    const float sigma = product(s, u) / (1.0F + product(s_minus_1, u));
    schedule.timesteps.push_back(product(sigma, training_timesteps));
    schedule.sigmas.push_back(sigma);
  }
  schedule.sigmas.push_back(0.0F);
  return schedule;
}

}  // namespace

Schedule make_schedule(Solver solver, int steps, double shift) {
  WAN_CHECK(steps >= 1, "steps = {}", steps);
  if (solver == Solver::euler) return make_lightning_schedule(steps, shift);
  const double start = solver_rows()[static_cast<std::size_t>(solver)].first_sigma;
  const double increment = (0.0 - start) / steps;
  Schedule schedule;
  for (int i = 0; i < steps; ++i) {
    const double uniform = i * increment + start;
    const double shifted = shift * uniform / (1.0 + (shift - 1.0) * uniform);
    const auto timestep = static_cast<int>(shifted * training_timesteps);  // truncated, not rounded
    schedule.timesteps.push_back(static_cast<float>(timestep));
    schedule.sigmas.push_back(static_cast<float>(shifted));
  }
  schedule.sigmas.push_back(0.0F);
  return schedule;
}

Expert expert_for(float timestep, std::optional<double> boundary) {
  if (!boundary) return Expert::single;
  return timestep >= *boundary * training_timesteps ? Expert::high_noise : Expert::low_noise;
}

double guide_scale_for(Expert expert, const GuideScale& scale) {
  return expert == Expert::high_noise ? scale.high_noise : scale.low_noise;
}

}  // namespace wan::sample
