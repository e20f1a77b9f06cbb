// The stages from the first step to the video.
#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/check.h"
#include "engine/frame_outputs.h"
#include "engine/preview.h"
#include "engine/request_run.h"
#include "engine/wan_stages.h"
#include "parallel/agree.h"

namespace wan::engine {
namespace {

using Names = std::vector<std::string_view>;

/// Where the denoiser meets the other ranks of a run.
class RunGate final : public DenoiseGate {
 public:
  /// Leaves before step `last` of the clip, with the state in the run.
  RunGate(RequestRun& run, int last) : run_(run), last_(last) {}
  bool pass(int steps_done, const std::function<DenoiseState()>& gather) override {
    if (!run_.pass(steps_done, gather)) return false;
    if (steps_done < last_ || steps_done == run_.setup().request.sample_steps) return true;
    run_.meeting().with_memory([&] { run_.state() = gather(); });
    has_left_early_ = true;
    return false;
  }
  [[noreturn]] void give_up(const c10::OutOfMemoryError& shortage) override {
    run_.meeting().give_up(shortage);
  }
  bool has_left_early() const { return has_left_early_; }

 private:
  RequestRun& run_;
  int last_;
  bool has_left_early_ = false;
};

/// The steps of a clip: in one go, or in stretches. Steps of one expert follow those of the other where
/// experts take turns; steps with and without guidance divide the ranks in two ways.
class Denoise final : public Stage {
 public:
  Denoise(Names conditions, Expert first, StageTools& tools)
      : conditions_(std::move(conditions)), first_(first), tools_(tools) {}
  std::string_view phase() const override { return {}; }
  Names takes() const override { return conditions_; }
  Names makes() const override { return {"latent"}; }

  void run(RequestRun& run) override {
    while (true) {
      const DenoiseInput input = input_of(run);
      const Expert expert = sample::expert_of_step(input.start.steps_done, input.settings);
      run.wait_before(sample::first_step_without(first_, input.settings));
      const bool leaves_at_once = run.setup().outputs.first_expert_only && expert != first_;
      if (!leaves_at_once && run.has_steps_left()) bring(run, input);
      bool goes_on = false;
      run.in_phase("denoise", [&] {
        goes_on = make_steps(run, input);
        while (goes_on && !takes_turns()) goes_on = make_steps(run, input_of(run));
      });
      if (!goes_on) return;
    }
  }

 private:
  /// Where weights change: reads those of the experts that the steps need, with the request's LoRAs, unless
  /// they are there. In a team each group may hold others.
  void bring(RequestRun& run, const DenoiseInput& input) const {
    Denoiser& denoiser = *tools_.networks.denoise;
    if (!denoiser.changes()) return;
    const std::vector<Expert> experts = experts_of_steps(input);
    const int set = run.setup().request.lora_set;
    const bool has_loras = std::ranges::all_of(experts, [&](Expert one) { return denoiser.holds(one, set); });
    const bool has_experts = std::ranges::all_of(experts, [&](Expert one) { return denoiser.holds(one); });
    std::int64_t lack = has_loras ? 0 : has_experts ? 1 : 2;
    TeamMeeting& meeting = run.meeting();
    meeting.group().all_reduce(std::span(&lack, 1), comm::ReduceOp::max).wait();
    if (lack == 0) return;
    run.in_phase(lack == 1 ? "lora" : "load", [&] {
      meeting.with_memory_and_files([&] {
        try {
          for (const Expert one : experts) run.add_merged_bytes(denoiser.take_turn(one, set));
        } catch (const UsageError& error) {  // of a LoRA: another set may do
          meeting.report({.order = 0, .message = error.what()});
        }
      });
    });
  }

  /// The experts that run() makes steps with before it leaves.
  std::vector<Expert> experts_of_steps(const DenoiseInput& input) const {
    std::vector<Expert> experts;
    for (int step = input.start.steps_done; step < input.settings.steps; ++step) {
      const Expert expert = sample::expert_of_step(step, input.settings);
      if (experts.empty() || (experts.back() != expert && !takes_turns())) experts.push_back(expert);
    }
    return experts;
  }

  bool takes_turns() const { return tools_.placement.transformers.takes_turns(); }

  /// The step before which a stretch ends. Guidance changes with the expert only.
  int end_of_stretch(const DenoiseInput& input) const {
    const int first = input.start.steps_done;
    if (!takes_turns()) return sample::first_step_guided_otherwise(first, input.settings);
    return sample::first_step_without(sample::expert_of_step(first, input.settings), input.settings, first);
  }

  /// Makes the steps of one stretch. Returns whether another one follows.
  bool make_steps(RequestRun& run, const DenoiseInput& input) {
    Denoiser& denoiser = *tools_.networks.denoise;
    TeamMeeting& meeting = run.meeting();
    RunGate gate(run, end_of_stretch(input));
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
            if (times.overflow) report_overflow(run, step, *times.overflow);
          },
          &gate);
      if (!latent.defined() && !run.preview().defined()) return;
      const at::Tensor made = latent.defined()
                                  ? latent
                                  : preview_latent(run.preview(), run.setup().outputs.draft)
                                        .to(tools_.compute.device);  // [16, frames, height, width]
      run.values().put("latent", made);
      finite = made.isfinite().all().item<bool>();
    });
    denoiser.rest();
    if (finite && !*finite) {
      fail_item(
          "denoise",
          "the denoised latent holds values that are not finite; the checkpoint's weights may be damaged");
    }
    return gate.has_left_early();
  }

  /// The ranks hear of it at their next meeting, before the next step.
  static void report_overflow(RequestRun& run, const sample::StepRequest& step,
                              const dit::OverflowPlace& place) {
    run.meeting().report(
        {.order = place.order(),
         .message = fmt::format(
             "step {} of {}: {} gave values beyond 65504, the largest number of fp16; make this item in bf16 "
             "or fp32",
             step.index + 1, run.setup().request.sample_steps, place.describe())});
  }

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
                         .clean_from = run.setup().outputs.draft.after_step,
                         .bf16_terms = tools_.compute.type == at::kBFloat16},
            .first_frame = values.get("first_frame"),
            .image_features = values.get("image_features")};
  }

  Names conditions_;
  Expert first_;  ///< of the model's experts, in the order of their steps
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

/// Gives the frames to the run's control, which writes them now or later.
class WriteOutputs final : public Stage {
 public:
  std::string_view phase() const override { return "write"; }
  Names takes() const override { return {"latent", "frames"}; }
  Names makes() const override { return {}; }

  void run(RequestRun& run) override {
    TeamMeeting& meeting = run.meeting();
    parallel::agree_on_root(meeting.group(), meeting.leader_rank(), "write", [&] {
      const RunSetup& setup = run.setup();
      OutputPaths paths = setup.outputs;
      PixelSize size = run.size();
      if (run.preview().defined()) {
        paths.latents.clear();
        size = preview_shape(run.preview(), paths.draft, run.setup().geometry).size;
      }
      setup.control.on_outputs(
          std::make_unique<FrameOutputs>(setup.request, std::move(paths), size, run.take_made()));
    });
  }
};

}  // namespace

std::unique_ptr<Stage> denoise(std::vector<std::string_view> conditions, const model::ModelKind& kind,
                               StageTools& tools) {
  return std::make_unique<Denoise>(std::move(conditions), kind.experts.front().expert, tools);
}

std::unique_ptr<Stage> decode(StageTools& tools) { return std::make_unique<Decode>(tools); }

std::unique_ptr<Stage> write_outputs() { return std::make_unique<WriteOutputs>(); }

Pipeline make_pipeline(const model::ModelKind& kind, StageTools& tools) {
  Stages stages;
  const bool has_channels = kind.conditioning == model::Conditioning::image_channels;
  const bool has_first_frame = kind.conditioning == model::Conditioning::first_frame;
  if (!has_channels) stages.push_back(take_size(kind));
  if (has_channels || has_first_frame) stages.push_back(read_image(kind, tools));
  stages.push_back(restore_or_draw_noise(kind, tools));
  stages.push_back(encode_texts(tools));
  if (kind.has_image_encoder()) stages.push_back(encode_features(tools));
  stages.push_back(check_memory(kind, tools));
  if (has_channels || has_first_frame) stages.push_back(encode_image(kind, tools));
  std::vector<std::string_view> conditions{"context", "negative_context"};
  if (has_channels) conditions.emplace_back("condition");
  if (has_first_frame) conditions.emplace_back("first_frame");
  if (kind.has_image_encoder()) conditions.emplace_back("image_features");
  stages.push_back(denoise(std::move(conditions), kind, tools));
  stages.push_back(decode(tools));
  stages.push_back(write_outputs());
  return Pipeline(std::move(stages));
}

}  // namespace wan::engine
