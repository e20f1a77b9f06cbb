// What comes of a request after its last step: decoded frames, the video, and the latents.
#include <ATen/ATen.h>

#include <array>

#include "checkpoint/safetensors.h"
#include "core/check.h"
#include "engine/request_run.h"
#include "media/video.h"
#include "parallel/agree.h"
#include "parallel/tensor_bytes.h"
#include "wan/storage_error.h"

namespace wan::engine {

/// Decodes and writes. If memory or disk space runs out, the steps are not to be done again.
void WanEngine::Run::finish() {
  try {
    phase("decode", [this] { decode(); });
    phase("write", [this] { write_outputs(); });
  } catch (const MemoryError&) {
    keep_steps();
    throw;
  } catch (const StorageError&) {
    keep_steps();
    throw;
  }
}

void WanEngine::Run::keep_steps() {
  if (!leads() || report_.steps_done <= steps_saved_) return;
  save_state({.steps_done = report_.steps_done, .latent = latent_.cpu(), .history = {}});
}

/// The leader keeps the frames and writes them later: nothing that may take any time, as an encoder or a disk
/// may, lies between two of the decoder's collectives.
void WanEngine::Run::decode() {
  bool is_finite = true;
  with_memory([&] {
    is_finite = engine_.vae_->decode(
        latent_, *team_.vae, leader_rank_,
        [&](const at::Tensor& frames /* uint8 [frames, height, width, 3], leader only */) {
          frames_.push_back(frames);
        });
  });
  parallel::agree(group(), [&] {
    if (is_finite) return;
    fail_item(
        "decode",
        "the decoded frames hold values that are not finite; the autoencoder's weights (the VAE file of "
        "the checkpoint) may be damaged");
  });
}

void WanEngine::Run::write_outputs() {
  parallel::agree_on_root(group(), leader_rank_, "write", [this] {
    write_video();
    if (!outputs_.latents.empty()) save_latents();
  });
}

void WanEngine::Run::write_video() const {
  media::VideoWriter writer(outputs_.video, {.width = size_.width,
                                             .height = size_.height,
                                             .fps = request_.fps,
                                             .codec = request_.codec,
                                             .crf = request_.crf});
  for (const at::Tensor& chunk : frames_) {  // [frames, height, width, 3]
    for (std::int64_t i = 0; i < chunk.size(0); ++i) {
      const at::Tensor frame = chunk[i].contiguous();  // [height, width, 3]
      writer.write_frame({frame.data_ptr<std::uint8_t>(), static_cast<std::size_t>(frame.numel())});
    }
  }
  writer.finish();
}

void WanEngine::Run::save_latents() const {
  const at::Tensor latent = latent_.cpu().contiguous();  // [16, frames, height, width]
  const at::Tensor frames = at::cat(frames_, 0);         // [frames, height, width, 3]
  const std::array<checkpoint::TensorView, 2> tensors{{{.name = "latent",
                                                        .dtype = checkpoint::DType::f32,
                                                        .shape = latent.sizes().vec(),
                                                        .bytes = parallel::bytes_of(latent)},
                                                       {.name = "frames",
                                                        .dtype = checkpoint::DType::u8,
                                                        .shape = frames.sizes().vec(),
                                                        .bytes = parallel::bytes_of(frames)}}};
  checkpoint::write_safetensors(outputs_.latents, tensors);
}

}  // namespace wan::engine
