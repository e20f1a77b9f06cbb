#pragma once

#include "sample/solver.h"

namespace wan::sample {

/// The explicit Euler method on the flow: x + (sigma_next - sigma) * velocity.
class Euler final : public FlowSolver {
 public:
  explicit Euler(Schedule schedule) : schedule_(std::move(schedule)) {}
  at::Tensor step(int i, const at::Tensor& x, const at::Tensor& velocity) override;

 private:
  Schedule schedule_;
};

}  // namespace wan::sample
