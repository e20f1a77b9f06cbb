#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "sample/noise_level.h"
#include "sample/solver.h"

namespace wan::sample {
namespace {

/// UniPC of order 2 in its bh2 form, with data prediction (model.md 6.4). Each call corrects the previous
/// step with the new model output, then predicts the next sample. The order is lower at both ends.
class UniPc final : public FlowSolver {
 public:
  /// `bf16_terms`: see make_solver().
  UniPc(Schedule schedule, bool bf16_terms) : schedule_(std::move(schedule)), bf16_terms_(bf16_terms) {}
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

at::Tensor UniPc::step(int i, const at::Tensor& x, const at::Tensor& velocity) {
  const at::Tensor data = x - velocity * schedule_.sigmas[i];  // from the uncorrected sample
  // The corrector of the last step cannot change the result, because the last prediction is the data
  // prediction itself.
  const bool last = i + 1 == schedule_.steps();
  const at::Tensor corrected = i == 0 || last ? x : correct(i, data);
  at::Tensor next = predict(i, corrected, data);
  data_2_ = data_1_;
  data_1_ = data;
  corrected_ = corrected;
  previous_order_ = order_of(i);
  return next;
}

int UniPc::order_of(int i) const { return std::min({2, schedule_.steps() - i, i + 1}); }

SolverHistory UniPc::history() const {
  SolverHistory history;
  if (data_1_.defined()) history = {{"data_1", data_1_}, {"corrected", corrected_}};
  if (data_2_.defined()) history.emplace("data_2", data_2_);
  return history;
}

void UniPc::restore(int steps_done, const SolverHistory& history) {
  WAN_CHECK(steps_done >= 1, "nothing to restore after {} steps", steps_done);
  data_1_ = remembered(history, "data_1");
  corrected_ = remembered(history, "corrected");
  if (steps_done >= 2) data_2_ = remembered(history, "data_2");
  previous_order_ = order_of(steps_done - 1);
}

at::Tensor UniPc::rounded(const at::Tensor& x) const {
  return bf16_terms_ ? x.to(at::kBFloat16).to(at::kFloat) : x;
}

float UniPc::rounded(float x) const { return bf16_terms_ ? static_cast<float>(c10::BFloat16(x)) : x; }

at::Tensor UniPc::correct(int i, const at::Tensor& data) const {
  const NoiseLevel now(schedule_.sigmas[i]);
  const NoiseLevel before(schedule_.sigmas[i - 1]);
  const float h = now.lambda - before.lambda;
  const float b = std::expm1(-h);
  const at::Tensor base = corrected_ * (now.sigma / before.sigma) - data_1_ * (now.alpha * b);
  if (previous_order_ == 1) return base - (data - data_1_) * (0.5F * now.alpha * b);
  const float r = (NoiseLevel(schedule_.sigmas[i - 2]).lambda - before.lambda) / h;
  const float f = b / -h - 1.0F;
  const float b1 = f / b;
  const float b2 = 2.0F * (f / -h - 0.5F) / b;
  const float rho1 = (b1 - b2) / (1.0F - r);
  const float rho2 = b1 - rho1;
  const at::Tensor slope = (data_2_ - data_1_) / r;
  const at::Tensor second_order = rounded(rounded(slope) * rounded(rho1));
  return base - (second_order + (data - data_1_) * rho2) * (now.alpha * b);
}

at::Tensor UniPc::predict(int i, const at::Tensor& corrected, const at::Tensor& data) const {
  const NoiseLevel now(schedule_.sigmas[i]);
  const NoiseLevel next(schedule_.sigmas[i + 1]);
  if (i + 1 == schedule_.steps()) return data;  // sigma 0: expm1(-inf) = -1
  const float h = next.lambda - now.lambda;
  const float b = std::expm1(-h);
  at::Tensor first_order = corrected * (next.sigma / now.sigma) - data * (next.alpha * b);
  if (i == 0) return first_order;
  const float r = (NoiseLevel(schedule_.sigmas[i - 1]).lambda - now.lambda) / h;
  const at::Tensor slope = (data_1_ - data) / r;
  if (!bf16_terms_) return first_order - slope * (0.5F * next.alpha * b);
  return first_order - rounded(rounded(rounded(slope) * 0.5F) * (next.alpha * b));
}

}  // namespace

std::unique_ptr<FlowSolver> make_unipc(const Schedule& schedule, bool bf16_terms) {
  return std::make_unique<UniPc>(schedule, bf16_terms);
}

}  // namespace wan::sample
