#pragma once

#include <optional>
#include <vector>

#include "wan/engine.h"
#include "wan/request.h"

namespace wan::sample {

inline constexpr int training_timesteps = 1000;

/// The times at which the model is evaluated (model.md 6.1).
struct Schedule {
  std::vector<float> timesteps;  ///< [steps], 0..1000, the model's input; euler's have fractions
  std::vector<float> sigmas;     ///< [steps + 1]; the last one is 0
  int steps() const { return static_cast<int>(timesteps.size()); }
};

/// `shift` bends the uniform times towards the noisy end. The solver's row says where they begin. The times
/// of euler lie on the Lightning grid (model.md 6.7).
Schedule make_schedule(Solver solver, int steps, double shift);

/// The expert of a timestep: high noise if timestep >= boundary * 1000 (model.md 7.4). Without a boundary the
/// model has one expert.
Expert expert_for(float timestep, std::optional<double> boundary);

/// The scale of that expert's guidance. That of a single expert stands in both fields.
double guide_scale_for(Expert expert, const GuideScale& scale);

}  // namespace wan::sample
