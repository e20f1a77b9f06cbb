#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "sample/solver.h"

namespace wan::sample {

/// One model evaluation asked of a denoiser.
struct StepRequest {
  int index = 0;
  int timestep = 0;
  Expert expert = Expert::high_noise;
  bool guided = true;  ///< false: guidance scale 1, the unconditional pass is not needed
};

/// The model's answers; `unconditional` is undefined where the request was not guided.
struct Prediction {
  at::Tensor conditional;
  at::Tensor unconditional;
};

using Denoiser = std::function<Prediction(const at::Tensor& x, const StepRequest&)>;
/// Where a run stands between two steps: all that is needed to go on.
struct SamplerState {
  int steps_done = 0;
  at::Tensor x;           ///< fp32, any shape; pure noise before the first step
  SolverHistory history;  ///< empty before the first step and after the last
};

/// Asked before each step and once after the last; false: leave here.
using StepGate = std::function<bool(const SamplerState& state)>;
/// Called after each step with the request, the prediction and the new sample.
using StepListener = std::function<void(const StepRequest&, const Prediction&, const at::Tensor& x)>;

struct SamplerSettings {
  Solver solver = Solver::unipc;
  int steps = 0;
  double shift = 0;
  double boundary = 0;
  GuideScale guide_scale;
  bool bf16_terms = false;  ///< round as the official code does inside its bf16 region (model.md 6.4)
};

/// Whether both predictions are needed anywhere in the run.
bool is_guided(const GuideScale& scale);

/// Denoises from `state` on: expert by boundary, classifier-free guidance, solver update: step 5
/// (model.md 7.1). A run that was left at the gate and goes on from the state returned has the bits of one
/// that was not. `on_step` and `gate` may be empty. Throws Error on a state that is none of these settings.
SamplerState sample(const SamplerSettings& settings, SamplerState state, const Denoiser& denoise,
                    const StepListener& on_step, const StepGate& gate = {});

}  // namespace wan::sample
