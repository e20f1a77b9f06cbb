#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "sample/schedule.h"

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
/// Called after each step with the request, the prediction and the new sample.
using StepListener = std::function<void(const StepRequest&, const Prediction&, const at::Tensor& x)>;

struct SamplerSettings {
  Solver solver = Solver::unipc;
  int steps = 0;
  double shift = 0;
  double boundary = 0;
  GuideScale guide_scale;
  bool bf16_terms = false;  ///< round as the official code does inside its bf16 region (spec 6.4)
};

/// Whether both predictions are needed anywhere in the run.
bool is_guided(const GuideScale& scale);

/// Denoises `noise` (any shape, fp32): expert by boundary, classifier-free guidance, solver update (spec 7.1
/// step 5).
at::Tensor sample(const SamplerSettings& settings, const at::Tensor& noise, const Denoiser& denoise,
                  const StepListener& on_step);

}  // namespace wan::sample
