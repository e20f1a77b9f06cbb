#pragma once

#include "sample/solver.h"

namespace wan::sample {

/// UniPC of order 2 in its bh2 form, predicting data (spec 6.4): corrects the previous step with the new
/// model output, then predicts the next sample. Lower order at both ends.
class UniPc final : public FlowSolver {
 public:
  explicit UniPc(Schedule schedule) : schedule_(std::move(schedule)) {}
  at::Tensor step(int i, const at::Tensor& x, const at::Tensor& velocity) override;

 private:
  at::Tensor correct(int i, const at::Tensor& data) const;
  at::Tensor predict(int i, const at::Tensor& corrected, const at::Tensor& data) const;

  Schedule schedule_;
  at::Tensor data_1_;     ///< data prediction of the previous step
  at::Tensor data_2_;     ///< and of the one before
  at::Tensor corrected_;  ///< corrected sample of the previous step
  int previous_order_ = 0;
};

}  // namespace wan::sample
