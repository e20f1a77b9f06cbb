#pragma once

#include "sample/solver.h"

namespace wan::sample {

/// DPM-Solver++(2M), midpoint form, with data prediction (model.md 6.5). First order in the first two steps
/// and the last.
class DpmSolver final : public FlowSolver {
 public:
  explicit DpmSolver(Schedule schedule) : schedule_(std::move(schedule)) {}
  at::Tensor step(int i, const at::Tensor& x, const at::Tensor& velocity) override;
  SolverHistory history() const override;
  void restore(int steps_done, const SolverHistory& history) override;

 private:
  Schedule schedule_;
  at::Tensor previous_data_;
};

}  // namespace wan::sample
