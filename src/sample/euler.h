#pragma once

#include "sample/solver.h"

namespace wan::sample {

/// The explicit Euler method on the flow: x + (sigma_next - sigma) * velocity.
class Euler final : public FlowSolver {
 public:
  explicit Euler(Schedule schedule) : schedule_(std::move(schedule)) {}
  at::Tensor step(int i, const at::Tensor& x, const at::Tensor& velocity) override;
  SolverHistory history() const override { return {}; }
  void restore(int /*steps_done*/, const SolverHistory& /*history*/) override {}

 private:
  Schedule schedule_;
};

}  // namespace wan::sample
