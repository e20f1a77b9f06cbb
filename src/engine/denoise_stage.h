#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <memory>

#include "checkpoint/checkpoint.h"
#include "core/part_clock.h"
#include "dit/transformer.h"
#include "parallel/layout.h"
#include "parallel/ulysses.h"
#include "sample/sampler.h"

namespace wan::engine {

/// One request as denoising sees it. All tensors are whole and equal on every rank; each rank keeps its
/// tokens of them.
struct DenoiseInput {
  at::Tensor noise;      ///< fp32 [16, frames, height, width] in latents
  at::Tensor condition;  ///< fp32 [20, frames, height, width], mask then image latent; undefined for t2v
  at::Tensor context;    ///< text embedding [tokens, text_dim]
  at::Tensor negative_context;  ///< undefined where guidance is 1 throughout
  sample::SamplerSettings settings;
};

/// What happened in one step on this rank.
struct StepTimes {
  double wall_s = 0;
  std::array<double, part_count> part_s{};
};

/// Hears each step: the request, this rank's tokens of both predictions and of the new sample, and times.
using DenoiseListener = std::function<void(const sample::StepRequest&, const sample::Prediction&,
                                           const at::Tensor& local_tokens, const StepTimes&)>;

/// One expert's files: sizes known, weights not yet read.
struct ExpertFiles {
  checkpoint::Checkpoint weights;
  checkpoint::TransformerConfig config;
};

/// Opens an expert's folder and checks that it holds exactly the tensors that its sizes call for. Throws
/// UsageError.
ExpertFiles open_expert(const std::filesystem::path& folder);

/// The two experts of a group of ranks and their weights.
class DenoiseStage {
 public:
  /// `sharded`: each expert's weights are split over the group (FSDP), else whole on this rank.
  /// `head_chunks`: exchanges per all-to-all.
  DenoiseStage(const ExpertFiles& high_noise, const ExpertFiles& low_noise, bool sharded,
               parallel::GroupCommunicators& group, int head_chunks = 1);

  const checkpoint::TransformerConfig& config() const { return high_noise_->config(); }

  /// Collective over the group. Returns the denoised latent [16, frames, height, width], whole on every rank.
  at::Tensor run(const DenoiseInput& input, const DenoiseListener& on_step);

  /// Gathers a rank's tokens into the whole latent [channels, frames, height, width]; collective over its
  /// ulysses group.
  at::Tensor gather_latent(const at::Tensor& local_tokens, bool guided, const kernels::TokenGrid& grid) const;

 private:
  struct Request;
  sample::Prediction predict(Request& request, const at::Tensor& x, const sample::StepRequest& step);
  dit::Transformer& transformer(Expert expert) {
    return expert == Expert::high_noise ? *high_noise_ : *low_noise_;
  }

  parallel::GroupCommunicators& group_;
  int head_chunks_;
  std::unique_ptr<checkpoint::WeightSource> high_noise_weights_;
  std::unique_ptr<checkpoint::WeightSource> low_noise_weights_;
  std::unique_ptr<dit::Transformer> high_noise_;
  std::unique_ptr<dit::Transformer> low_noise_;
  PartClock clock_;
};

}  // namespace wan::engine
