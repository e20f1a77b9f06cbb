#pragma once

#include <cmath>

namespace wan::sample {

/// alpha and lambda of a float32 sigma. They are computed in float32 on purpose: alpha = 1 - sigma keeps only
/// about four digits near the start, and the reference trajectories have the same loss (model.md 6.3).
struct NoiseLevel {
  explicit NoiseLevel(float sigma_of_step)
      : sigma(sigma_of_step), alpha(1.0F - sigma_of_step), lambda(std::log(alpha) - std::log(sigma)) {}
  float sigma;
  float alpha;
  float lambda;  ///< log of the signal-to-noise ratio; +inf at sigma 0, -inf at sigma 1
};

}  // namespace wan::sample
