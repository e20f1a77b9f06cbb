#include <ATen/ATen.h>

#include "sample/solver.h"

namespace wan::sample {
namespace {

/// The explicit Euler method on the flow (model.md 6.7): x + (sigma_next - sigma) * velocity.
class Euler final : public FlowSolver {
 public:
  explicit Euler(Schedule schedule) : schedule_(std::move(schedule)) {}

  at::Tensor step(int i, const at::Tensor& x, const at::Tensor& velocity) override {
    return x + velocity * (schedule_.sigmas[i + 1] - schedule_.sigmas[i]);
  }
  SolverHistory history() const override { return {}; }
  void restore(int /*steps_done*/, const SolverHistory& /*history*/) override {}

 private:
  Schedule schedule_;
};

}  // namespace

std::unique_ptr<FlowSolver> make_euler(const Schedule& schedule, bool /*bf16_terms*/) {
  return std::make_unique<Euler>(schedule);
}

}  // namespace wan::sample
