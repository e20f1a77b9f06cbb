#pragma once

#include "sample/solver.h"

namespace wan::sample {

/// UniPC of order 2 in its bh2 form, with data prediction (model.md 6.4). Each call corrects the previous
/// step with the new model output, then predicts the next sample. The order is lower at both ends.
class UniPc final : public FlowSolver {
 public:
  /// `bf16_terms`: see make_solver().
  explicit UniPc(Schedule schedule, bool bf16_terms = false)
      : schedule_(std::move(schedule)), bf16_terms_(bf16_terms) {}
  at::Tensor step(int i, const at::Tensor& x, const at::Tensor& velocity) override;
  SolverHistory history() const override;
  void restore(int steps_done, const SolverHistory& history) override;

 private:
  at::Tensor correct(int i, const at::Tensor& data) const;
  at::Tensor predict(int i, const at::Tensor& corrected, const at::Tensor& data) const;

  int order_of(int i) const;  ///< order of the step from sample i to i + 1: 1 or 2

  /// x rounded to bf16, or x itself if bf16_terms is off.
  at::Tensor rounded(const at::Tensor& x) const;
  float rounded(float x) const;

  Schedule schedule_;
  bool bf16_terms_;
  at::Tensor data_1_;     ///< data prediction of the previous step
  at::Tensor data_2_;     ///< data prediction of the step before that
  at::Tensor corrected_;  ///< corrected sample of the previous step
  int previous_order_ = 0;
};

}  // namespace wan::sample
