#include "sample/solver.h"

#include <ATen/ATen.h>

#include "core/check.h"
#include "sample/dpm_solver.h"
#include "sample/euler.h"
#include "sample/uni_pc.h"

namespace wan::sample {

const at::Tensor& remembered(const SolverHistory& history, const std::string& name) {
  const auto found = history.find(name);
  WAN_CHECK(found != history.end(), "the solver's history lacks '{}'", name);
  return found->second;
}

std::unique_ptr<FlowSolver> make_solver(Solver solver, const Schedule& schedule, bool bf16_terms) {
  switch (solver) {
    case Solver::unipc:
      return std::make_unique<UniPc>(schedule, bf16_terms);
    case Solver::dpmpp:
      return std::make_unique<DpmSolver>(schedule);
    case Solver::euler:
      return std::make_unique<Euler>(schedule);
  }
  fail("internal: unknown solver {}", static_cast<int>(solver));
}

}  // namespace wan::sample
