#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "sample/schedule.h"

namespace wan::sample {

/// The tensors that a solver keeps of earlier steps, keyed by name: at most max_history_tensors of the
/// sample's shape, fp32. A saved state contains them as `history.NAME`. A name has at most max_history_name
/// characters of a-z, 0-9 and _.
using SolverHistory = std::map<std::string, at::Tensor>;
inline constexpr std::size_t max_history_tensors = 8;
inline constexpr std::size_t max_history_name = 31;

/// Whether a tensor of a solver's history may have this name.
bool is_history_name(std::string_view name);

/// Integrates the flow from noise to data, with one model evaluation per step (model.md 6.3). All operations
/// are elementwise. So `x` may be any slice of the latent in any shape, and each rank advances only its own
/// tokens. A solver keeps the history of its slice.
class FlowSolver {
 public:
  virtual ~FlowSolver() = default;
  /// `x`: the sample of step i, fp32. `velocity`: the guided prediction at x, same shape. Returns the sample
  /// of step i + 1.
  virtual at::Tensor step(int i, const at::Tensor& x, const at::Tensor& velocity) = 0;

  /// Everything that later calls of step() need of the earlier steps.
  virtual SolverHistory history() const = 0;
  /// Lets a new solver continue after `steps_done` steps (one or more) with the result of history() at that
  /// point. The following steps have the same bits. Throws Error if a tensor is missing.
  virtual void restore(int steps_done, const SolverHistory& history) = 0;
};

/// The tensor named `name`. Throws Error if the history lacks it.
const at::Tensor& remembered(const SolverHistory& history, const std::string& name);

// make_VALUE() of each row of WAN_SOLVER_TABLE (wan/solvers.h), defined in src/sample/solvers.
#define WAN_DECLARE_SOLVER(value, name, first_sigma, description) \
  std::unique_ptr<FlowSolver> make_##value(const Schedule& schedule, bool bf16_terms);
WAN_SOLVER_TABLE(WAN_DECLARE_SOLVER)
#undef WAN_DECLARE_SOLVER

/// `bf16_terms`: UniPC's second-order terms pass through bf16, as in the official code on a GPU (model.md
/// 6.4).
std::unique_ptr<FlowSolver> make_solver(Solver solver, const Schedule& schedule, bool bf16_terms = false);

}  // namespace wan::sample
