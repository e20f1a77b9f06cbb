#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>

#include "sample/solver.h"

namespace wan::sample {

/// One evaluation of the model that the sampler requests.
struct StepRequest {
  int index = 0;
  float timestep = 0;  ///< 0..1000, a whole number for all solvers but euler
  Expert expert = Expert::high_noise;
  bool guided = true;  ///< false: the guidance scale is 1, so the unconditional pass is not needed
};

/// The model's output. `unconditional` is undefined if the request was not guided.
struct Prediction {
  at::Tensor conditional;
  at::Tensor unconditional;
};

using Denoiser = std::function<Prediction(const at::Tensor& x, const StepRequest&)>;
/// The state of a run between two steps: everything that a later run needs to continue.
struct SamplerState {
  int steps_done = 0;
  at::Tensor x;           ///< fp32, any shape; pure noise before the first step
  SolverHistory history;  ///< empty before the first step and after the last
  /// x without its noise, as the last step predicts it: its x - sigma * velocity. Undefined unless the
  /// settings ask for it, before the first step and after the last.
  at::Tensor clean = {};
};

/// Called before each step and once after the last. Return false to leave the run.
using StepGate = std::function<bool(const SamplerState& state)>;
/// Called after each step with the request, the prediction and the new sample.
using StepListener = std::function<void(const StepRequest&, const Prediction&, const at::Tensor& x)>;

struct SamplerSettings {
  Solver solver = Solver::unipc;
  int steps = 0;
  double shift = 0;
  std::optional<double> boundary;  ///< empty: the model has one expert
  GuideScale guide_scale;
  int clean_from = 0;       ///< the state has the clean sample after this many steps and more; 0: never
  bool bf16_terms = false;  ///< rounds as the official code does inside its bf16 region (model.md 6.4)
  /// The first rows of x, if they are known: put back before the first step and after each (model.md 7.8).
  at::Tensor known_rows = {};
};

/// The first step from `from` on whose expert differs from `expert`; the number of steps if there is none.
int first_step_without(Expert expert, const SamplerSettings& settings, int from = 0);

/// The expert of that step. After the last step: that of the last one.
Expert expert_of_step(int step, const SamplerSettings& settings);

/// The expert that computes next after that step: in the next step, or after the last one in the first step
/// of another such run.
Expert expert_after(int step, const SamplerSettings& settings);

/// Whether a step of the run can need both predictions.
bool is_guided(const GuideScale& scale);

/// Whether that step needs both. After the last step: whether that one did.
bool is_guided(int step, const SamplerSettings& settings);

/// The first step from `from` on that needs another number of predictions than step `from`; the number of
/// steps if there is none.
int first_step_guided_otherwise(int from, const SamplerSettings& settings);

/// Denoises from `state` on: step 5 (model.md 7.1). Each step chooses the expert by the boundary, applies
/// classifier-free guidance and updates the sample by the solver. A run that left at the gate and later
/// continues from the returned state has the same bits as an uninterrupted run. `on_step` and `gate` may be
/// empty. Writes to `state.x` where rows are known. Throws Error if the state does not belong to these
/// settings.
SamplerState sample(const SamplerSettings& settings, SamplerState state, const Denoiser& denoise,
                    const StepListener& on_step, const StepGate& gate = {});

}  // namespace wan::sample
