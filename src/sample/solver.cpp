#include "sample/solver.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/check.h"

namespace wan::sample {

bool is_history_name(std::string_view name) {
  const auto is_allowed = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; };
  return !name.empty() && name.size() <= max_history_name && std::ranges::all_of(name, is_allowed);
}

const at::Tensor& remembered(const SolverHistory& history, const std::string& name) {
  const auto found = history.find(name);
  WAN_CHECK(found != history.end(), "the solver's history lacks '{}'", name);
  return found->second;
}

std::unique_ptr<FlowSolver> make_solver(Solver solver, const Schedule& schedule, bool bf16_terms) {
#define WAN_SOLVER_CASE(value, name, first_sigma, description) \
  case Solver::value:                                          \
    return make_##value(schedule, bf16_terms);
  switch (solver) { WAN_SOLVER_TABLE(WAN_SOLVER_CASE) }
#undef WAN_SOLVER_CASE
  fail("internal: unknown solver {}", static_cast<int>(solver));
}

}  // namespace wan::sample
