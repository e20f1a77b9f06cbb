// What comes of a request after its last step: decoded frames, the video, and the latents.
#include <ATen/ATen.h>

#include <array>

#include "checkpoint/safetensors.h"
#include "engine/request_run.h"
#include "media/video.h"
#include "parallel/agree.h"
#include "parallel/tensor_bytes.h"

namespace wan::engine {

/// If memory runs out, the steps are not to be done again.
void WanEngine::Run::decode_or_keep() {
  try {
    decode_and_write();
  } catch (const MemoryError&) {
    if (leads() && report_.steps_done > steps_saved_) {
      save_state({.steps_done = report_.steps_done, .latent = latent_.cpu(), .history = {}});
    }
    throw;
  }
}

void WanEngine::Run::decode_and_write() {
  std::exception_ptr
      kept;  // the leader goes on taking part when its writer fails; all ranks hear of it at the end
  const auto guarded = [&kept](auto&& work) {
    if (kept) return;
    try {
      work();
    } catch (const ItemError&) {
      kept = std::current_exception();
    }
  };
  std::unique_ptr<media::VideoWriter> writer;
  if (leads()) {
    guarded([&] {
      writer =
          std::make_unique<media::VideoWriter>(outputs_.video, media::VideoFormat{.width = size_.width,
                                                                                  .height = size_.height,
                                                                                  .fps = request_.fps,
                                                                                  .codec = request_.codec,
                                                                                  .crf = request_.crf});
    });
  }
  std::vector<at::Tensor> saved;
  with_memory([&] {
    engine_.vae_->decode(
        latent_, *team_.vae, leader_rank_,
        [&](const at::Tensor& frames /* uint8 [frames, height, width, 3], leader only */) {
          if (!outputs_.latents.empty()) saved.push_back(frames);
          guarded([&] {
            for (std::int64_t i = 0; i < frames.size(0); ++i) {
              const at::Tensor frame = frames[i].contiguous();  // [height, width, 3]
              writer->write_frame({frame.data_ptr<std::uint8_t>(), static_cast<std::size_t>(frame.numel())});
            }
          });
        });
  });
  if (leads()) guarded([&] { writer->finish(); });
  if (!saved.empty()) frames_ = at::cat(saved, 0);
  parallel::agree(group(), kept);
}

void WanEngine::Run::save_latents() const {
  parallel::agree(group(), [this] {
    if (!leads()) return;
    const at::Tensor latent = latent_.cpu().contiguous();  // [16, frames, height, width]
    const std::array<checkpoint::TensorView, 2> tensors{{{.name = "latent",
                                                          .dtype = checkpoint::DType::f32,
                                                          .shape = latent.sizes().vec(),
                                                          .bytes = parallel::bytes_of(latent)},
                                                         {.name = "frames",
                                                          .dtype = checkpoint::DType::u8,
                                                          .shape = frames_.sizes().vec(),
                                                          .bytes = parallel::bytes_of(frames_)}}};
    checkpoint::write_safetensors(outputs_.latents, tensors);
  });
}

}  // namespace wan::engine
