#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "sample/schedule.h"

namespace wan::sample {

/// Integrates the flow from noise to data, one model evaluation per step (spec 6.3-6.5). Purely elementwise:
/// `x` may be any slice of the latent in any shape, so that each rank advances only the tokens it owns. Holds
/// the history of its slice.
class FlowSolver {
 public:
  virtual ~FlowSolver() = default;
  /// `x`: the sample of step i, fp32; `velocity`: the guided prediction at x, same shape. Returns the sample
  /// of step i + 1.
  virtual at::Tensor step(int i, const at::Tensor& x, const at::Tensor& velocity) = 0;
};

/// `bf16_terms`: UniPC's second-order terms pass through bf16, as in the official code on a GPU (spec 6.4).
std::unique_ptr<FlowSolver> make_solver(Solver solver, const Schedule& schedule, bool bf16_terms = false);

}  // namespace wan::sample
