#include "engine/request_run.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <array>

#include "checkpoint/safetensors.h"
#include "core/check.h"
#include "dit/patchify.h"
#include "engine/image_condition.h"
#include "gpu/device.h"
#include "gpu/memory.h"
#include "gpu/part_timer.h"
#include "media/image.h"
#include "media/video.h"
#include "parallel/agree.h"
#include "parallel/plan.h"
#include "parallel/tensor_bytes.h"

namespace wan::engine {
namespace {

constexpr std::int64_t latent_channels = 16;
constexpr std::int64_t mask_channels = 4;
constexpr int latent_stride = 8;
constexpr int frames_per_latent = 4;

double gibibytes(std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

std::int64_t latent_frames(int frame_num) { return (frame_num - 1) / frames_per_latent + 1; }

}  // namespace

template <typename Work>
void WanEngine::Run::phase(const char* name, Work&& work) {
  const double start_s = engine_.run_clock_.elapsed_s();
  const std::uint64_t sent_before = engine_.group_.sent_bytes();
  {
    const gpu::Range range(name);
    work();
    if (engine_.options_.compute.on_gpu()) {
      gpu::synchronize();
      gpu::release_unused();
    }
  }
  const double wall_s = engine_.run_clock_.elapsed_s() - start_s;
  report_.phase_s[name] += wall_s;
  if (leads()) {
    observer_.on_phase({.phase = name,
                        .start_s = start_s,
                        .wall_s = wall_s,
                        .sent_bytes = engine_.group_.sent_bytes() - sent_before});
  }
  reporter_.report_samples();
}

RequestReport WanEngine::Run::execute() {
  const bool has_image = engine_.task_.kind == TaskKind::i2v;
  phase("text", [this] { encode_texts(); });
  if (has_image) {
    phase("image", [this] { prepare_image(); });
  } else {
    size_ = request_.size;
  }
  require_memory();
  draw_noise();
  if (has_image) phase("encode", [this] { encode_image(); });
  phase("denoise", [this] { denoise(); });
  phase("decode", [this] { decode_and_write(); });
  if (!outputs_.latents.empty()) phase("write", [this] { save_latents(); });

  report_.size = size_;
  report_.frames = request_.frame_num;
  report_.layout = parallel::describe(engine_.group_.passes(sample::is_guided(request_.guide_scale)).shape);
  if (engine_.options_.dit_fsdp) report_.layout += fmt::format(", fsdp{}", engine_.group_.group->size());
  report_.device = engine_.options_.compute.on_gpu() ? engine_.options_.gpu.name : "cpu";
  report_.precision = engine_.options_.compute.type == at::kBFloat16 ? "exact" : "fp32";
  report_.median_step_s = median(reporter_.own_seconds());
  return report_;
}

void WanEngine::Run::encode_texts() {
  const std::string prompt = TextStage::cleaned_prompt(request_.prompt);
  std::vector<std::string> texts{prompt};
  if (sample::is_guided(request_.guide_scale))
    texts.push_back(TextStage::cleaned_prompt(request_.negative_prompt));
  const std::vector<at::Tensor> embeddings = engine_.text_->encode(texts);
  input_.context = embeddings.front();  // [tokens, text_dim]
  if (embeddings.size() > 1) input_.negative_context = embeddings.back();
}

void WanEngine::Run::prepare_image() {
  comm::Communicator& group = *engine_.group_.group;
  std::array<std::int64_t, 2> sides{};  // width, height
  parallel::agree(group, [&] {
    if (!leads()) return;
    const media::Image image = media::read_image(request_.image);
    const PixelSize size = fit_to_area({.width = image.width, .height = image.height}, request_.size);
    image_ = resize_image(image, size).contiguous();  // [3, height, width]
    sides = {size.width, size.height};
  });
  group.broadcast(std::as_writable_bytes(std::span(sides)), 0).wait();
  size_ = {.width = static_cast<int>(sides[0]), .height = static_cast<int>(sides[1])};
  if (!leads()) image_ = at::empty({3, size_.height, size_.width}, at::kFloat);
  group.broadcast(parallel::writable_bytes_of(image_), 0).wait();
}

/// A rank that ran out of memory among others would leave them in a collective: what the item is known to
/// need is tried beforehand, and all ranks hear whether all have it.
void WanEngine::Run::require_memory() {
  if (!engine_.options_.compute.on_gpu()) return;
  const parallel::PlanInput input{
      .transformer = engine_.denoise_->config(),
      .text_encoder = {},
      .vae_parameters = 0,
      .grid = engine_.group_.passes(sample::is_guided(request_.guide_scale)).shape,
      .tokens = dit::token_grid(latent_frames(request_.frame_num), size_.height / latent_stride,
                                size_.width / latent_stride),
      .guided = sample::is_guided(request_.guide_scale),
      .dit_fsdp = engine_.options_.dit_fsdp,
      .on_gpu = true,
      .element_bytes = static_cast<int>(c10::elementSize(engine_.options_.compute.type))};
  const std::int64_t bytes = parallel::request_bytes(input);
  parallel::agree(*engine_.group_.group, [&] {
    if (gpu::has_room(bytes)) return;
    fail_item("denoise",
              "a video of {}x{} with {} frames takes about {:.1f} GiB on each GPU beside the weights, and "
              "the GPU of "
              "rank {} has {:.1f} GiB of {:.1f} in use; use more ranks per group, a smaller size or fewer "
              "frames, or "
              "--offload-model on",
              size_.width, size_.height, request_.frame_num, gibibytes(bytes), engine_.group_.world_rank,
              gibibytes(static_cast<std::int64_t>(gpu::used_bytes())),
              gibibytes(static_cast<std::int64_t>(engine_.options_.gpu.total_bytes)));
  });
}

void WanEngine::Run::draw_noise() {
  // Every rank draws the whole noise from the same seed, so that it does not depend on the layout (spec 7.3).
  const auto seed = static_cast<std::uint64_t>(request_.seed);
  const bool on_gpu = request_.noise_device == NoiseDevice::cuda;
  const at::Generator generator =
      on_gpu ? gpu::make_generator(engine_.options_.gpu.index, seed) : at::detail::createCPUGenerator(seed);
  input_.noise =
      at::randn({latent_channels, latent_frames(request_.frame_num), size_.height / latent_stride,
                 size_.width / latent_stride},
                generator, on_gpu ? engine_.options_.compute.fp32() : at::TensorOptions(at::kFloat));
}

void WanEngine::Run::encode_image() {
  const at::Tensor latent =
      engine_.vae_->encode_image(image_, request_.frame_num);  // [16, frames, height, width]
  image_.reset();
  const at::Tensor mask =
      at::zeros({mask_channels, latent.size(1), latent.size(2), latent.size(3)}, latent.options());
  mask.select(1, 0).fill_(1);
  input_.condition = at::cat({mask, latent}, 0);  // [20, frames, height, width]
}

void WanEngine::Run::denoise() {
  input_.settings = {.solver = request_.solver,
                     .steps = request_.sample_steps,
                     .shift = request_.sample_shift,
                     .boundary = request_.boundary,
                     .guide_scale = request_.guide_scale,
                     .bf16_terms = engine_.options_.compute.type == at::kBFloat16};
  reporter_.begin_steps(request_.sample_steps);
  latent_ = engine_.denoise_->run(  // on the compute device
      input_, [this](const sample::StepRequest& step, const sample::Prediction& prediction,
                     const at::Tensor& x, const StepTimes& times) {
        if (engine_.step_listener_) engine_.step_listener_(step, prediction, x, times);
        reporter_.report(step, times);
      });
  const bool finite = latent_.isfinite().all().item<bool>();
  if (!finite) {
    fail_item(
        "denoise",
        "the denoised latent holds values that are not finite; the checkpoint's weights may be damaged");
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
  engine_.vae_->decode(
      latent_, [&](const at::Tensor& frames /* uint8 [frames, height, width, 3], leader only */) {
        if (!outputs_.latents.empty()) saved.push_back(frames);
        guarded([&] {
          for (std::int64_t i = 0; i < frames.size(0); ++i) {
            const at::Tensor frame = frames[i].contiguous();  // [height, width, 3]
            writer->write_frame({frame.data_ptr<std::uint8_t>(), static_cast<std::size_t>(frame.numel())});
          }
        });
      });
  if (leads()) guarded([&] { writer->finish(); });
  if (!saved.empty()) frames_ = at::cat(saved, 0);
  parallel::agree(*engine_.group_.group, kept);
}

void WanEngine::Run::save_latents() const {
  parallel::agree(*engine_.group_.group, [this] {
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
