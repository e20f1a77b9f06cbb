#include "sample/sampler.h"

#include <ATen/ATen.h>

#include "sample/solver.h"

namespace wan::sample {

bool is_guided(const GuideScale& scale) { return scale.low_noise != 1.0 || scale.high_noise != 1.0; }

at::Tensor sample(const SamplerSettings& settings, const at::Tensor& noise, const Denoiser& denoise,
                  const StepListener& on_step) {
  const Schedule schedule = make_schedule(settings.solver, settings.steps, settings.shift);
  const auto solver = make_solver(settings.solver, schedule, settings.bf16_terms);
  at::Tensor x = noise;
  for (int i = 0; i < schedule.steps(); ++i) {
    const Expert expert = expert_for(schedule.timesteps[i], settings.boundary);
    const double scale = guide_scale_for(expert, settings.guide_scale);
    const StepRequest request{
        .index = i, .timestep = schedule.timesteps[i], .expert = expert, .guided = scale != 1.0};
    const Prediction prediction = denoise(x, request);
    const at::Tensor velocity =
        request.guided
            ? prediction.unconditional + (prediction.conditional - prediction.unconditional) * scale
            : prediction.conditional;
    x = solver->step(i, x, velocity);
    if (on_step) on_step(request, prediction, x);
  }
  return x;
}

}  // namespace wan::sample
