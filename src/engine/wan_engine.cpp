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
                                                           .compute = options.compute},
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

std::vector<DeviceSample> WanEngine::gather_samples() {
  if (!monitor_) return {};
  comm::Communicator& group = *group_.group;
  std::vector<DeviceSample> own;
  for (const gpu::Sample& sample : monitor_->take()) {
    own.push_back({.time_s = sample.time_s,
                   .rank = group_.world_rank,
                   .vram_used_bytes = sample.used_bytes,
                   .power_w = sample.power_w,
                   .temperature_c = sample.temperature_c});
  }
  const auto ranks = static_cast<std::size_t>(group.size());
  std::int64_t most = static_cast<std::int64_t>(own.size());
  group.all_reduce(std::span(&most, 1), comm::ReduceOp::max).wait();
  // Shorter lists end in samples of no rank.
  own.resize(static_cast<std::size_t>(most), DeviceSample{.rank = -1});
  std::vector<DeviceSample> all(ranks * own.size());
  group.all_gather(std::as_bytes(std::span(own)), std::as_writable_bytes(std::span(all))).wait();
  std::erase_if(all, [](const DeviceSample& sample) { return sample.rank < 0; });
  return all;
}

RequestReport WanEngine::run(const Request& request, const OutputPaths& outputs, Observer& observer) {
  return Run(*this, request, outputs, observer).execute();
}

}  // namespace wan::engine
