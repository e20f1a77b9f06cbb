#include "engine/wan_engine.h"

#include "core/check.h"
#include "engine/request_run.h"
#include "engine/validate.h"
#include "gpu/memory.h"

namespace wan::engine {

namespace {

constexpr double sample_period_s = 0.2;

TextEncoderOptions text_options(const EngineOptions& options, bool split) {
  const bool on_host = options.t5_cpu || !options.compute.on_gpu();
  return {.sharded = options.t5_fsdp && split,
          .resident = on_host,
          .compute = on_host ? kernels::Compute() : options.compute};
}

}  // namespace

WanEngine::WanEngine(const checkpoint::CheckpointFolder& folder, const EngineOptions& options,
                     parallel::GroupCommunicators group, const Stopwatch& run_clock)
    : options_(options), group_(std::move(group)), run_clock_(run_clock) {
  task_ = folder.task;
  const ExpertFiles high_noise = open_expert(folder.high_noise_model);
  const ExpertFiles low_noise = open_expert(folder.low_noise_model);
  checkpoint::expect_same_config(high_noise.config, low_noise.config);
  text_encoder_files_ = std::make_unique<checkpoint::Checkpoint>(
      checkpoint::Checkpoint::open_torch_archive(folder.text_encoder));
  const checkpoint::Checkpoint vae_files = checkpoint::Checkpoint::open_torch_archive(folder.vae);
  const VaeModel vae = vae_model(vae_files);
  const TextEncoderModel text_encoder = text_encoder_model(*text_encoder_files_);
  if (text_encoder.config.dim != high_noise.config.text_dim) {
    fail<UsageError>("{}: the text encoder's width is {}, the transformers in {} expect {}",
                     folder.text_encoder.string(), text_encoder.config.dim, folder.root.string(),
                     high_noise.config.text_dim);
  }
  if (options.compute.on_gpu()) {
    monitor_ = std::make_unique<gpu::Monitor>(options.gpu.bus_id, sample_period_s,
                                              [&clock = run_clock_] { return clock.elapsed_s(); });
  }
  const bool split = group_.group->size() > 1;
  const TextEncoderOptions text = text_options(options, split);
  text_ = std::make_unique<TextStage>(
      folder.tokenizer, text_encoder, text,
      text.compute.on_gpu() == options.compute.on_gpu() ? *group_.fsdp : *group_.group);
  denoise_ = std::make_unique<DenoiseStage>(expert_model(high_noise), expert_model(low_noise),
                                            DenoiseOptions{.sharded = options.dit_fsdp && split,
                                                           .offload = options.offload_model,
                                                           .head_chunks = options.head_chunks,
                                                           .compute = options.compute,
                                                           .attention = options.attention},
                                            group_);
  vae_ = std::make_unique<VaeStage>(vae, options.compute.device, *group_.vae);
  if (options.compute.on_gpu()) gpu::release_unused();
}

WanEngine::~WanEngine() = default;

void WanEngine::validate(const Request& request) const { validate_request(request, task_.kind); }

void WanEngine::expect_prompts(const std::vector<std::string>& prompts) {
  std::vector<std::string> cleaned;
  for (const std::string& prompt : prompts) {
    try {
      cleaned.push_back(TextStage::cleaned_prompt(prompt));
    } catch (const ItemError&) {
      continue;  // the item itself will say so
    }
  }
  text_->expect(std::move(cleaned));
}

RequestReport WanEngine::run(const Request& request, const OutputPaths& outputs, Observer& observer) {
  return Run(*this, request, outputs, observer).execute();
}

}  // namespace wan::engine
