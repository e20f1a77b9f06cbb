#pragma once

#include <cmath>

#include "wan/request.h"

namespace wan::model {

/// Whether a step with this guidance scale needs the unconditional pass: the scale is not 1, to within 1e-6
/// (model.md 7.4).
inline bool is_guided(double scale) { return std::abs(scale - 1.0) > 1e-6; }

/// Whether a step of one of the experts can need it.
inline bool is_guided(const GuideScale& scale) {
  return is_guided(scale.low_noise) || is_guided(scale.high_noise);
}

}  // namespace wan::model
