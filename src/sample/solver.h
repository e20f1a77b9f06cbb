#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "sample/schedule.h"

namespace wan::sample {

/// What a solver remembers of earlier steps, by name: at most max_history_tensors of the sample's shape,
/// fp32. A saved state holds them as `history.NAME`. A name has at most max_history_name of a-z, 0-9 and _.
using SolverHistory = std::map<std::string, at::Tensor>;
inline constexpr std::size_t max_history_tensors = 8;
inline constexpr std::size_t max_history_name = 31;

/// Whether a tensor of a solver's history may have that name.
bool is_history_name(std::string_view name);

/// Integrates the flow from noise to data, one model evaluation per step (model.md 6.3). Purely elementwise:
/// `x` may be any slice of the latent in any shape, so that each rank advances only the tokens it owns. Holds
/// the history of its slice.
class FlowSolver {
 public:
  virtual ~FlowSolver() = default;
  /// `x`: the sample of step i, fp32; `velocity`: the guided prediction at x, same shape. Returns the sample
  /// of step i + 1.
  virtual at::Tensor step(int i, const at::Tensor& x, const at::Tensor& velocity) = 0;

  /// All that step() will want of the steps so far.
  virtual SolverHistory history() const = 0;
  /// Makes a new solver go on after `steps_done` steps, one or more, with what history() gave then: the steps
  /// that follow have the same bits. Throws Error if a tensor is missing.
  virtual void restore(int steps_done, const SolverHistory& history) = 0;
};

/// The tensor of that name; throws Error if there is none.
const at::Tensor& remembered(const SolverHistory& history, const std::string& name);

// make_VALUE() of each row of WAN_SOLVER_TABLE (wan/solvers.h), defined in src/sample/solvers.
#define WAN_DECLARE_SOLVER(value, name, first_sigma, description) \
  std::unique_ptr<FlowSolver> make_##value(const Schedule& schedule, bool bf16_terms);
WAN_SOLVER_TABLE(WAN_DECLARE_SOLVER)
#undef WAN_DECLARE_SOLVER

/// `bf16_terms`: UniPC's second-order terms pass through bf16, as officially on a GPU (model.md 6.4).
std::unique_ptr<FlowSolver> make_solver(Solver solver, const Schedule& schedule, bool bf16_terms = false);

}  // namespace wan::sample
