#include "engine/wan_engine.h"

#include "core/check.h"
#include "engine/request_run.h"
#include "engine/validate.h"

namespace wan::engine {

WanEngine::WanEngine(const checkpoint::CheckpointFolder& folder, const EngineOptions& options,
                     parallel::GroupCommunicators group, const Stopwatch& run_clock)
    : options_(options), group_(std::move(group)), run_clock_(run_clock) {
  task_ = folder.task;
  const ExpertFiles high_noise = open_expert(folder.high_noise_model);
  const ExpertFiles low_noise = open_expert(folder.low_noise_model);
  checkpoint::expect_same_config(high_noise.config, low_noise.config);
  const checkpoint::Checkpoint text_encoder = checkpoint::Checkpoint::open_torch_archive(folder.text_encoder);
  const checkpoint::Checkpoint vae = checkpoint::Checkpoint::open_torch_archive(folder.vae);
  const bool split = group_.group->size() > 1;
  text_ = std::make_unique<TextStage>(folder.tokenizer, text_encoder, options.t5_fsdp && split, *group_.fsdp);
  if (text_->dim() != high_noise.config.text_dim) {
    fail<UsageError>("{}: the text encoder's width is {}, the transformers in {} expect {}",
                     folder.text_encoder.string(), text_->dim(), folder.root.string(),
                     high_noise.config.text_dim);
  }
  denoise_ = std::make_unique<DenoiseStage>(high_noise, low_noise, options.dit_fsdp && split, group_,
                                            options.head_chunks);
  vae_ = std::make_unique<VaeStage>(vae, *group_.vae);
}

WanEngine::~WanEngine() = default;

void WanEngine::validate(const Request& request) const { validate_request(request, task_.kind); }

RequestReport WanEngine::run(const Request& request, const OutputPaths& outputs, Observer& observer) {
  return Run(*this, request, outputs, observer).execute();
}

}  // namespace wan::engine
