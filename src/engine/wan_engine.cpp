#include "engine/wan_engine.h"

#include "core/check.h"
#include "engine/image_condition.h"
#include "engine/request_run.h"
#include "media/image.h"

namespace wan::engine {

WanEngine::WanEngine(const checkpoint::CheckpointFolder& folder, const EngineOptions& options,
                     parallel::GroupCommunicators group, const Stopwatch& run_clock)
    : options_(options), group_(std::move(group)), run_clock_(run_clock) {
  task_ = folder.task;
  const checkpoint::Checkpoint high_noise = checkpoint::open_safetensors_folder(folder.high_noise_model);
  const checkpoint::Checkpoint low_noise = checkpoint::open_safetensors_folder(folder.low_noise_model);
  const checkpoint::Checkpoint text_encoder = checkpoint::open_torch_archive(folder.text_encoder);
  const checkpoint::Checkpoint vae = checkpoint::open_torch_archive(folder.vae);
  const bool split = group_.group->size() > 1;
  text_ = std::make_unique<TextStage>(folder.tokenizer, text_encoder, options.t5_fsdp && split, *group_.fsdp);
  denoise_ = std::make_unique<DenoiseStage>(high_noise, low_noise, options.dit_fsdp && split, group_,
                                            options.head_chunks);
  vae_ = std::make_unique<VaeStage>(vae, *group_.vae);
  for (const checkpoint::Checkpoint* part : {&high_noise, &low_noise, &text_encoder, &vae}) {
    checkpoint_bytes_read_ += part->bytes_read();
  }
}

WanEngine::~WanEngine() = default;

void WanEngine::validate(const Request& request) const {
  TextStage::cleaned_prompt(request.prompt);
  if (task_.kind == TaskKind::t2v) return;
  const media::Image image = media::read_image(request.image);
  fit_to_area({.width = image.width, .height = image.height}, request.size);
}

RequestReport WanEngine::run(const Request& request, const OutputPaths& outputs, Observer& observer) {
  return Run(*this, request, outputs, observer).execute();
}

}  // namespace wan::engine
