// The stages from the first step to the video.
#include <ATen/ATen.h>

#include <array>

#include "checkpoint/safetensors.h"
#include "core/check.h"
#include "engine/request_run.h"
#include "engine/wan_stages.h"
#include "media/video.h"
#include "parallel/agree.h"
#include "parallel/tensor_bytes.h"

namespace wan::engine {
namespace {

using Names = std::vector<std::string_view>;

/// Where the denoiser meets the other ranks of a run.
class RunGate final : public DenoiseGate {
 public:
  explicit RunGate(RequestRun& run) : run_(run) {}
  bool pass(int steps_done, const std::function<DenoiseState()>& gather) override {
    return run_.pass(steps_done, gather);
  }
  [[noreturn]] void give_up(const c10::OutOfMemoryError& shortage) override {
    run_.meeting().give_up(shortage);
  }

 private:
  RequestRun& run_;
};

class Denoise final : public Stage {
 public:
  Denoise(Names conditions, StageTools& tools) : conditions_(std::move(conditions)), tools_(tools) {}
  std::string_view phase() const override { return "denoise"; }
  Names takes() const override { return conditions_; }
  Names makes() const override { return {"latent"}; }

  void run(RequestRun& run) override {
    const DenoiseInput input = input_of(run);
    Denoiser& denoiser = *tools_.networks.denoise;
    TeamMeeting& meeting = run.meeting();
    RunGate gate(run);
    run.begin_steps(denoiser.describe(input, run.setup().team));
    meeting.with_memory([&] { denoiser.reserve(); });
    std::optional<bool> finite;
    meeting.with_memory([&] {
      const at::Tensor latent = denoiser.run(  // [16, frames, height, width]; undefined if the gate left
          input, run.setup().team,
          [&](const sample::StepRequest& step, const sample::Prediction& prediction, const at::Tensor& x,
              const StepTimes& times) {
            if (tools_.step_listener) tools_.step_listener(step, prediction, x, times);
            run.reporter().end_step(step, times);
          },
          &gate);
      if (!latent.defined()) return;
      run.values().put("latent", latent);
      finite = latent.isfinite().all().item<bool>();
    });
    if (finite && !*finite) {
      fail_item(
          "denoise",
          "the denoised latent holds values that are not finite; the checkpoint's weights may be damaged");
    }
  }

 private:
  DenoiseInput input_of(RequestRun& run) const {
    const Request& request = run.setup().request;
    const StageValues& values = run.values();
    return {.start = run.state(),
            .condition = values.get("condition"),
            .context = values.get("context"),
            .negative_context = values.get("negative_context"),
            .settings = {.solver = request.solver,
                         .steps = request.sample_steps,
                         .shift = request.sample_shift,
                         .boundary = request.boundary,
                         .guide_scale = request.guide_scale,
                         .bf16_terms = tools_.compute.type == at::kBFloat16}};
  }

  Names conditions_;
  StageTools& tools_;
};

/// The leader keeps the frames and writes them later: nothing that may take any time, as an encoder or a disk
/// may, lies between two of the decoder's collectives.
class Decode final : public Stage {
 public:
  explicit Decode(StageTools& tools) : tools_(tools) {}
  std::string_view phase() const override { return "decode"; }
  Names takes() const override { return {"latent"}; }
  Names makes() const override { return {"frames"}; }

  void run(RequestRun& run) override {
    TeamMeeting& meeting = run.meeting();
    bool is_finite = true;
    meeting.with_memory([&] {
      is_finite = tools_.networks.vae->decode(
          run.values().get("latent"), *run.setup().team.vae, meeting.leader_rank(),
          [&](const at::Tensor& frames /* uint8 [frames, height, width, 3], leader only */) {
            run.values().on_leader("frames").push_back(frames);
          });
    });
    parallel::agree(meeting.group(), [&] {
      if (is_finite) return;
      fail_item(
          "decode",
          "the decoded frames hold values that are not finite; the autoencoder's weights (the VAE file of "
          "the checkpoint) may be damaged");
    });
  }

 private:
  StageTools& tools_;
};

class WriteOutputs final : public Stage {
 public:
  std::string_view phase() const override { return "write"; }
  Names takes() const override { return {"latent", "frames"}; }
  Names makes() const override { return {}; }

  void run(RequestRun& run) override {
    TeamMeeting& meeting = run.meeting();
    parallel::agree_on_root(meeting.group(), meeting.leader_rank(), "write", [&] {
      const std::vector<at::Tensor>& frames = run.values().on_leader("frames");
      write_video(run, frames);
      const std::filesystem::path& latents = run.setup().outputs.latents;
      if (!latents.empty()) save_latents(latents, run.values().get("latent"), frames);
    });
  }

 private:
  static void write_video(const RequestRun& run, const std::vector<at::Tensor>& frames) {
    const Request& request = run.setup().request;
    media::VideoWriter writer(run.setup().outputs.video, {.width = run.size().width,
                                                          .height = run.size().height,
                                                          .fps = request.fps,
                                                          .codec = request.codec,
                                                          .crf = request.crf});
    for (const at::Tensor& chunk : frames) {  // [frames, height, width, 3]
      for (std::int64_t i = 0; i < chunk.size(0); ++i) {
        const at::Tensor frame = chunk[i].contiguous();  // [height, width, 3]
        writer.write_frame({frame.data_ptr<std::uint8_t>(), static_cast<std::size_t>(frame.numel())});
      }
    }
    writer.finish();
  }

  static void save_latents(const std::filesystem::path& path, const at::Tensor& denoised,
                           const std::vector<at::Tensor>& chunks) {
    const at::Tensor latent = denoised.cpu().contiguous();  // [16, frames, height, width]
    const at::Tensor frames = at::cat(chunks, 0);           // [frames, height, width, 3]
    const std::array<checkpoint::TensorView, 2> tensors{{{.name = "latent",
                                                          .dtype = checkpoint::DType::f32,
                                                          .shape = latent.sizes().vec(),
                                                          .bytes = parallel::bytes_of(latent)},
                                                         {.name = "frames",
                                                          .dtype = checkpoint::DType::u8,
                                                          .shape = frames.sizes().vec(),
                                                          .bytes = parallel::bytes_of(frames)}}};
    checkpoint::write_safetensors(path, tensors);
  }
};

}  // namespace

std::unique_ptr<Stage> denoise(std::vector<std::string_view> conditions, StageTools& tools) {
  return std::make_unique<Denoise>(std::move(conditions), tools);
}

std::unique_ptr<Stage> decode(StageTools& tools) { return std::make_unique<Decode>(tools); }

std::unique_ptr<Stage> write_outputs() { return std::make_unique<WriteOutputs>(); }

Pipeline make_pipeline(const model::ModelKind& kind, StageTools& tools) {
  Stages stages;
  const bool has_image = kind.conditioning == model::Conditioning::image_channels;
  stages.push_back(has_image ? read_image(kind) : take_size());
  stages.push_back(restore_or_draw_noise(kind, tools));
  stages.push_back(encode_texts(tools));
  stages.push_back(check_memory(kind, tools));
  if (has_image) stages.push_back(encode_image(kind, tools));
  std::vector<std::string_view> conditions{"context", "negative_context"};
  if (has_image) conditions.emplace_back("condition");
  stages.push_back(denoise(std::move(conditions), tools));
  stages.push_back(decode(tools));
  stages.push_back(write_outputs());
  return Pipeline(std::move(stages));
}

}  // namespace wan::engine
