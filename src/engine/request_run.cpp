#include "engine/request_run.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <array>
#include <tuple>

#include "checkpoint/safetensors.h"
#include "comm/first_message.h"
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

constexpr const char* less_memory_hint =
    "use more ranks per group, a smaller size, fewer frames, --dit-fsdp on or --offload-model on";

double gibibytes(std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

std::int64_t latent_frames(int frame_num) { return (frame_num - 1) / frames_per_latent + 1; }

}  // namespace

WanEngine::Run::Run(WanEngine& engine, const Request& request, const OutputPaths& outputs, Observer& observer,
                    RunControl& control, const Team& team)
    : engine_(engine),
      request_(request),
      outputs_(outputs),
      observer_(observer),
      control_(control),
      team_(engine.communicators_of(team.width)),
      leader_rank_(team.leader * engine.group_.group->size()),
      reporter_(team_, leader_rank_, engine.monitor_.get(), engine.run_clock_, observer) {}

template <typename Work>
void WanEngine::Run::phase(const char* name, Work&& work) {
  const double start_s = engine_.run_clock_.elapsed_s();
  const std::uint64_t sent_before = team_.sent_bytes();
  phase_ = name;
  if (engine_.phase_listener_) engine_.phase_listener_(phase_);
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
                        .sent_bytes = team_.sent_bytes() - sent_before});
  }
  reporter_.report_samples();
}

template <typename Work>
void WanEngine::Run::with_memory(Work&& work) {
  std::optional<std::string> shortage;
  try {
    work();
  } catch (const c10::OutOfMemoryError& error) {
    shortage = describe(error);
  }
  meet(StepAction::go_on, shortage);
}

StepAction WanEngine::Run::meet(StepAction wish, const std::optional<std::string>& shortage) {
  std::array<std::int64_t, 2> said{static_cast<std::int64_t>(wish), shortage ? 1 : 0};
  group().all_reduce(std::span<std::int64_t>(said), comm::ReduceOp::max).wait();
  if (said[1] == 0) return static_cast<StepAction>(said[0]);
  const auto first = comm::first_message(group(), shortage);
  engine_.release_buffers();
  throw MemoryError(phase_, first ? first->text : "a GPU has too little memory");
}

std::string WanEngine::Run::describe(const c10::OutOfMemoryError& shortage) const {
  const std::string what = shortage.what_without_backtrace();
  std::string where = fmt::format("rank {}", team_.world_rank);
  if (engine_.options_.compute.on_gpu()) {
    where = fmt::format("the GPU of rank {}, of whose {:.1f} GiB {:.1f} are in use,", team_.world_rank,
                        gibibytes(static_cast<std::int64_t>(engine_.options_.gpu.total_bytes)),
                        gibibytes(static_cast<std::int64_t>(gpu::used_bytes())));
  }
  return fmt::format("{} has too little memory for a video of {}x{} with {} frames ({}); {}", where,
                     size_.width, size_.height, request_.frame_num, what.substr(0, what.find('\n')),
                     less_memory_hint);
}

RequestReport WanEngine::Run::execute() {
  if (team_.group->size() > engine_.group_.group->size()) {
    phase("join", [this] { take_over(); });
  } else {
    prepare();
  }
  report_.first_step = steps_saved_ = input_.start.steps_done;
  phase("denoise", [this] { denoise(); });
  if (report_.end == RunEnd::finished) {
    phase("decode", [this] { decode_or_keep(); });
    if (!outputs_.latents.empty()) phase("write", [this] { save_latents(); });
  }
  report_.size = size_;
  report_.frames = request_.frame_num;
  report_.layout = parallel::describe(team_.passes(sample::is_guided(request_.guide_scale)).shape);
  if (engine_.options_.dit_fsdp) report_.layout += fmt::format(", fsdp{}", team_.fsdp->size());
  report_.device = engine_.options_.compute.on_gpu() ? engine_.options_.gpu.name : "cpu";
  report_.precision = engine_.precision_name();
  report_.median_step_s = median(reporter_.own_seconds());
  return report_;
}

void WanEngine::Run::prepare() {
  const bool has_image = engine_.task_.kind == TaskKind::i2v;
  if (has_image) {
    phase("image", [this] { prepare_image(); });
  } else {
    size_ = request_.size;
  }
  phase_ = "denoise";
  with_memory([this] { draw_noise(); });
  restore();
  if (input_.start.steps_done == request_.sample_steps) return;  // only decoding is left
  phase("text", [this] { encode_texts(); });
  require_memory();
  if (has_image) phase("encode", [this] { with_memory([this] { encode_image(); }); });
}

void WanEngine::Run::take_over() {
  if (leads()) {
    WAN_CHECK(engine_.handed_over_ != nullptr, "nothing was handed over");
    std::tie(input_, size_) = *std::exchange(engine_.handed_over_, nullptr);
  }
  std::array<std::int64_t, 2> sides{size_.width, size_.height};
  group().broadcast(std::as_writable_bytes(std::span(sides)), leader_rank_).wait();
  size_ = {.width = static_cast<int>(sides[0]), .height = static_cast<int>(sides[1])};
  broadcast_state(group(), leader_rank_, input_.start);
  for (at::Tensor* tensor : {&input_.condition, &input_.context, &input_.negative_context}) {
    broadcast_tensor(group(), leader_rank_, *tensor);
  }
}

void WanEngine::Run::encode_texts() {
  const std::string prompt = TextStage::cleaned_prompt(request_.prompt);
  std::vector<std::string> texts{prompt};
  if (sample::is_guided(request_.guide_scale))
    texts.push_back(TextStage::cleaned_prompt(request_.negative_prompt));
  TextStage& stage = *engine_.text_;
  with_memory([&] { stage.load_for(texts); });
  with_memory([&] { stage.reserve_for(texts); });
  with_memory([&] {
    const std::vector<at::Tensor> embeddings = stage.encode(texts);
    input_.context = embeddings.front();  // [tokens, text_dim]
    if (embeddings.size() > 1) input_.negative_context = embeddings.back();
  });
}

void WanEngine::Run::prepare_image() {
  std::array<std::int64_t, 2> sides{};  // width, height
  parallel::agree(group(), [&] {
    if (!leads()) return;
    const media::Image image = media::read_image(request_.image);
    const PixelSize size = fit_to_area({.width = image.width, .height = image.height}, request_.size);
    image_ = resize_image(image, size).contiguous();  // [3, height, width]
    sides = {size.width, size.height};
  });
  group().broadcast(std::as_writable_bytes(std::span(sides)), leader_rank_).wait();
  size_ = {.width = static_cast<int>(sides[0]), .height = static_cast<int>(sides[1])};
  if (!leads()) image_ = at::empty({3, size_.height, size_.width}, at::kFloat);
  group().broadcast(parallel::writable_bytes_of(image_), leader_rank_).wait();
}

/// What denoising takes on each rank beside the weights.
std::int64_t WanEngine::Run::denoise_bytes() const {
  const bool guided = sample::is_guided(request_.guide_scale);
  const parallel::PlanInput input{
      .transformer = engine_.denoise_->config(),
      .text_encoder = {},
      .vae_parameters = 0,
      .grid = team_.passes(guided).shape,
      .tokens = dit::token_grid(latent_frames(request_.frame_num), size_.height / latent_stride,
                                size_.width / latent_stride),
      .guided = guided,
      .dit_fsdp = engine_.options_.dit_fsdp,
      .on_gpu = true,
      .element_bytes = static_cast<int>(c10::elementSize(engine_.options_.compute.type))};
  return parallel::request_bytes(input);
}

/// Running out of memory in the steps costs what was done until then: what the item is known to need is tried
/// beforehand.
void WanEngine::Run::require_memory() {
  if (!engine_.options_.compute.on_gpu()) return;
  phase_ = "denoise";
  const std::int64_t bytes = denoise_bytes();
  std::optional<std::string> shortage;
  if (!gpu::has_room(bytes)) {
    shortage = fmt::format(
        "a video of {}x{} with {} frames takes about {:.1f} GiB on each GPU beside the weights, and the GPU "
        "of "
        "rank {} has {:.1f} GiB of {:.1f} in use; {}",
        size_.width, size_.height, request_.frame_num, gibibytes(bytes), team_.world_rank,
        gibibytes(static_cast<std::int64_t>(gpu::used_bytes())),
        gibibytes(static_cast<std::int64_t>(engine_.options_.gpu.total_bytes)), less_memory_hint);
  }
  meet(StepAction::go_on, shortage);
}

void WanEngine::Run::draw_noise() {
  // Every rank draws the whole noise from the same seed, so that it does not depend on the layout (spec 7.3).
  const auto seed = static_cast<std::uint64_t>(request_.seed);
  const bool on_gpu = request_.noise_device == NoiseDevice::cuda;
  const at::Generator generator =
      on_gpu ? gpu::make_generator(engine_.options_.gpu.index, seed) : at::detail::createCPUGenerator(seed);
  input_.start.latent =
      at::randn({latent_channels, latent_frames(request_.frame_num), size_.height / latent_stride,
                 size_.width / latent_stride},
                generator, on_gpu ? engine_.options_.compute.fp32() : at::TensorOptions(at::kFloat));
}

void WanEngine::Run::encode_image() {
  const at::Tensor latent =
      engine_.vae_->encode_image(image_, request_.frame_num, *team_.vae);  // [16, frames, height, width]
  image_.reset();
  const at::Tensor mask =
      at::zeros({mask_channels, latent.size(1), latent.size(2), latent.size(3)}, latent.options());
  mask.select(1, 0).fill_(1);
  input_.condition = at::cat({mask, latent}, 0);  // [20, frames, height, width]
}

/// Replaces the noise by the state that the leader has, if it has one that can be used.
void WanEngine::Run::restore() {
  DenoiseState state;  // without steps: none
  if (leads() && !outputs_.resume_from.empty()) {
    try {
      state = read_request_state(outputs_.resume_from, identity(), latent_shape(), request_.sample_steps);
    } catch (const Error& error) {
      control_.on_state_problem(fmt::format("{}: the state in {} cannot be used, so the item begins anew: {}",
                                            request_.id, outputs_.resume_from.string(), error.what()));
    }
  }
  broadcast_state(group(), leader_rank_, state);
  if (state.steps_done > 0) input_.start = std::move(state);
}

/// What a state must agree in, beside the request's own values, which its keeper compares: the layout is
/// free.
std::string WanEngine::Run::identity() const {
  return fmt::format("{} {} {} steps of {}, weights {}", engine_.task_.name, engine_.precision_name(),
                     request_.sample_steps, to_string(request_.solver), engine_.weights_fingerprint_);
}

void WanEngine::Run::denoise() {
  input_.settings = {.solver = request_.solver,
                     .steps = request_.sample_steps,
                     .shift = request_.sample_shift,
                     .boundary = request_.boundary,
                     .guide_scale = request_.guide_scale,
                     .bf16_terms = engine_.options_.compute.type == at::kBFloat16};
  reporter_.begin_steps(request_.sample_steps);
  with_memory([this] { engine_.denoise_->reserve(); });
  std::optional<bool> finite;
  with_memory([&] {
    latent_ = engine_.denoise_->run(  // on the compute device
        input_, team_,
        [this](const sample::StepRequest& step, const sample::Prediction& prediction, const at::Tensor& x,
               const StepTimes& times) {
          if (engine_.step_listener_) engine_.step_listener_(step, prediction, x, times);
          reporter_.end_step(step, times);
        },
        this);
    if (report_.end == RunEnd::finished) finite = latent_.isfinite().all().item<bool>();
  });
  if (finite && !*finite) {
    fail_item(
        "denoise",
        "the denoised latent holds values that are not finite; the checkpoint's weights may be damaged");
  }
}

/// Between two steps: what any rank wants done is done by all. False: leave.
bool WanEngine::Run::pass(int steps_done, const std::function<DenoiseState()>& gather) {
  report_.steps_done = steps_done;
  const StepAction action = meet(control_.next_action(steps_done, request_.sample_steps), std::nullopt);
  reporter_.report_step();
  if (action == StepAction::hand_over) {
    report_.end = RunEnd::handed_over;
    with_memory([&] { input_.start = gather(); });
    if (leads()) engine_.handed_over_ = std::make_unique<HandOver>(input_, size_);
    return false;
  }
  if (action != StepAction::go_on && steps_done > steps_saved_) {
    with_memory([&] { save_state(gather()); });
    steps_saved_ = steps_done;
  }
  if (action == StepAction::stop) report_.end = RunEnd::stopped;
  reporter_.begin_step();
  return action != StepAction::stop;
}

void WanEngine::Run::give_up(const c10::OutOfMemoryError& shortage) {
  meet(StepAction::go_on, describe(shortage));
  fail("the ranks met and did not hear that memory ran out");
}

void WanEngine::Run::save_state(const DenoiseState& state) {
  if (!leads() || outputs_.state.empty()) return;
  try {
    write_request_state(outputs_.state, state, identity());
  } catch (const Error& error) {
    control_.on_state_problem(fmt::format("{}: the state after {} steps could not be saved: {}", request_.id,
                                          state.steps_done, error.what()));
    return;
  }
  control_.on_state(state.steps_done);
}

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
