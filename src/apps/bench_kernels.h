#pragma once

#include "apps/bench_inputs.h"
#include "apps/bench_report.h"
#include "engine/autoencoder.h"
#include "engine/denoiser.h"
#include "engine/model_description.h"
#include "launch/options.h"
#include "parallel/layout.h"

namespace wan::apps {

/// The input of the work whose kernels are recorded.
struct ProfiledRequest {
  const launch::BenchSettings& settings;
  const engine::ModelDescription& model;
  const BenchInputs& inputs;
  const parallel::GroupCommunicators& group;
  bool bf16_terms;  ///< as in sample::SamplerSettings
};

/// Makes one more step, encoding and decoding, of which nothing is timed, and returns the kernels that each
/// ran on this rank's GPU. Collective over the request's group.
KernelProfiles profile_kernels(const ProfiledRequest& request, engine::Denoiser& denoise,
                               engine::Autoencoder& vae);

}  // namespace wan::apps
