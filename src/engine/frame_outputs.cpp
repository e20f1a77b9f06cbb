#include "engine/frame_outputs.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/safetensors.h"
#include "core/check.h"
#include "engine/request_state.h"
#include "media/video.h"
#include "parallel/host_memory.h"
#include "parallel/tensor_bytes.h"

namespace wan::engine {
namespace {

/// `latent`: fp32 on the host.
checkpoint::TensorView latent_view(std::string name, const at::Tensor& latent) {
  return {.name = std::move(name),
          .dtype = checkpoint::DType::f32,
          .shape = latent.sizes().vec(),
          .bytes = parallel::bytes_of(latent)};
}

}  // namespace

FrameOutputs::FrameOutputs(Request request, OutputPaths paths, PixelSize size, Made made)
    : request_(std::move(request)), paths_(std::move(paths)), size_(size), made_(std::move(made)) {
  for (at::Tensor& frames : made_.frames) frames = frames.contiguous();
  made_.latent = made_.latent.cpu().contiguous();
}

void FrameOutputs::write_state() {
  write_request_state(paths_.state,
                      {.state = {.steps_done = made_.steps_done, .latent = made_.latent, .history = {}},
                       .carried = made_.carried,
                       .step_latents = made_.step_latents},
                      made_.identity);
}

bool FrameOutputs::write(const std::function<bool()>& is_given_up) {
  try {
    return parallel::with_host_memory([&] {
      if (!write_video(is_given_up)) return false;
      if (!paths_.latents.empty()) write_latents();
      return true;
    });
  } catch (const c10::OutOfMemoryError& error) {
    throw MemoryError("write", parallel::describe_shortage(error));
  }
}

/// Works on bytes alone: a tensor library's call would start threads of its own in each thread that writes.
bool FrameOutputs::write_video(const std::function<bool()>& is_given_up) const {
  media::VideoWriter writer(paths_.video, {.width = size_.width,
                                           .height = size_.height,
                                           .fps = request_.fps,
                                           .codec = request_.codec,
                                           .crf = request_.crf});
  const std::size_t frame_bytes =
      static_cast<std::size_t>(size_.width) * static_cast<std::size_t>(size_.height) * 3;
  for (const at::Tensor& chunk : made_.frames) {  // [frames, height, width, 3]
    const auto* frame = chunk.const_data_ptr<std::uint8_t>();
    for (std::int64_t i = 0; i < chunk.size(0); ++i, frame += frame_bytes) {
      writer.write_frame({frame, frame_bytes});
      if (is_given_up && is_given_up()) return false;
    }
  }
  writer.finish();
  return true;
}

void FrameOutputs::write_latents() const {
  std::vector<std::int64_t> shape{0, size_.height, size_.width, 3};
  std::size_t frames_bytes = 0;
  for (const at::Tensor& chunk : made_.frames) frames_bytes += chunk.nbytes();
  std::vector<std::byte> frames;  // all chunks
  frames.reserve(frames_bytes);
  for (const at::Tensor& chunk : made_.frames) {
    const std::span<const std::byte> bytes = parallel::bytes_of(chunk);
    frames.insert(frames.end(), bytes.begin(), bytes.end());
    shape.front() += chunk.size(0);
  }
  std::vector<checkpoint::TensorView> tensors{
      latent_view("latent", made_.latent),
      {.name = "frames", .dtype = checkpoint::DType::u8, .shape = shape, .bytes = frames}};
  for (const auto& [step, latent] : made_.step_latents)
    tensors.push_back(latent_view(step_latent_name(step), latent));
  checkpoint::write_safetensors(paths_.latents, tensors);
}

}  // namespace wan::engine
