#include <ATen/ATen.h>

#include <cmath>

#include "sample/noise_level.h"
#include "sample/solver.h"

namespace wan::sample {
namespace {

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

at::Tensor DpmSolver::step(int i, const at::Tensor& x, const at::Tensor& velocity) {
  const NoiseLevel now(schedule_.sigmas[i]);
  const NoiseLevel next(schedule_.sigmas[i + 1]);
  at::Tensor data = x - velocity * now.sigma;
  const at::Tensor previous_data = std::exchange(previous_data_, data);
  if (i + 1 == schedule_.steps()) return data;
  const float h = next.lambda - now.lambda;  // +inf at step 0, where sigma is 1
  const float c = next.alpha * (std::exp(-h) - 1.0F);
  at::Tensor first_order = x * (next.sigma / now.sigma) - data * c;
  if (i < 2) return first_order;  // at step 1 the ratio below would be infinite and the slope 0
  const float r0 = (now.lambda - NoiseLevel(schedule_.sigmas[i - 1]).lambda) / h;
  const at::Tensor slope = (data - previous_data) * (1.0F / r0);
  return first_order - slope * (0.5F * c);
}

SolverHistory DpmSolver::history() const {
  if (!previous_data_.defined()) return {};
  return {{"data_1", previous_data_}};
}

void DpmSolver::restore(int /*steps_done*/, const SolverHistory& history) {
  previous_data_ = remembered(history, "data_1");
}

}  // namespace

std::unique_ptr<FlowSolver> make_dpmpp(const Schedule& schedule, bool /*bf16_terms*/) {
  return std::make_unique<DpmSolver>(schedule);
}

}  // namespace wan::sample
