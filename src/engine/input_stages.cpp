// The stages before the first step: image, noise or saved state, texts.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <array>

#include "core/check.h"
#include "dit/patchify.h"
#include "engine/encoded_images.h"
#include "engine/image_ahead.h"
#include "engine/image_condition.h"
#include "engine/request_run.h"
#include "engine/step_passes.h"
#include "engine/validate.h"
#include "engine/wan_stages.h"
#include "gpu/memory.h"
#include "media/image.h"
#include "parallel/agree.h"
#include "parallel/plan.h"
#include "parallel/tensor_bytes.h"

namespace wan::engine {
namespace {

using Names = std::vector<std::string_view>;

/// True of a tensor that is undefined.
bool is_finite(const at::Tensor& tensor) { return !tensor.defined() || tensor.isfinite().all().item<bool>(); }

/// On every rank alike, as all of them have the same values.
void require(bool finite, const char* stage, const char* what) {
  if (finite) return;
  fail_item(stage, "{} holds values that are not finite; the checkpoint's weights may be damaged", what);
}

class ReadImage final : public Stage {
 public:
  ReadImage(const model::ModelKind& kind, const StageTools& tools) : kind_(kind), tools_(tools) {}
  std::string_view phase() const override { return "image"; }
  Names takes() const override { return {}; }
  Names makes() const override {
    return kind_.has_image_encoder() ? Names{"image", "clip_image"} : Names{"image"};
  }
  bool is_needed(const RequestRun& run) const override { return has_image(run.setup().request, kind_); }

  void run(RequestRun& run) override {
    TeamMeeting& meeting = run.meeting();
    at::Tensor image;                     // fp32 [3, height, width]
    at::Tensor clip_image;                // fp32 [3, side, side], if CLIP encodes it
    std::array<std::int64_t, 2> sides{};  // width, height
    parallel::agree_on_root(meeting.group(), meeting.leader_rank(), "image", [&] {
      const media::Image pixels = read(run);
      image = resized(pixels, run);
      if (kind_.has_image_encoder()) clip_image = resize_image(pixels, clip_size()).contiguous();
      sides = {image.size(2), image.size(1)};
    });
    meeting.group().broadcast(std::as_writable_bytes(std::span(sides)), meeting.leader_rank()).wait();
    run.set_size({.width = static_cast<int>(sides[0]), .height = static_cast<int>(sides[1])});
    meeting.with_memory([&] {
      if (meeting.leads()) return;
      image = at::empty({3, sides[1], sides[0]}, at::kFloat);
      if (kind_.has_image_encoder())
        clip_image = at::empty({3, clip_size().height, clip_size().width}, at::kFloat);
    });
    meeting.group().broadcast(parallel::writable_bytes_of(image), meeting.leader_rank()).wait();
    run.values().put("image", image);
    if (clip_image.defined()) {
      meeting.group().broadcast(parallel::writable_bytes_of(clip_image), meeting.leader_rank()).wait();
      run.values().put("clip_image", clip_image);
    }
    if (meeting.leads()) begin_next(run.setup().request);
  }

 private:
  media::Image read(const RequestRun& run) {
    const Request& request = run.setup().request;
    media::Image image = ahead_.take(request.image);
    if (const std::string note = image_note(image, request.image); !note.empty() && run.setup().on_note)
      run.setup().on_note(fmt::format("{}: {}", request.id, note));
    return image;
  }

  /// fp32 [3, height, width] of the video's size.
  at::Tensor resized(const media::Image& image, const RequestRun& run) const {
    const PixelSize own{.width = image.width, .height = image.height};
    const PixelSize wanted = run.setup().request.size;
    if (kind_.conditioning == model::Conditioning::first_frame)
      return first_frame(image, fit_first_frame(own, wanted, kind_.geometry));
    return resize_image(image, fit_to_area(own, wanted, kind_.geometry)).contiguous();
  }

  PixelSize clip_size() const {
    const auto side = static_cast<int>(tools_.networks.image->config().image_size);
    return {.width = side, .height = side};
  }

  /// Groups that are equally fast take turns: this group's next request is as many away as there are groups.
  void begin_next(const Request& now) {
    const LookAhead& look = tools_.look_ahead;
    if (!look.upcoming) return;
    int place = 0;
    std::filesystem::path next;
    look.upcoming(now, [&](const Request& request) {
      next = request.image;
      return ++place < look.groups;
    });
    if (!next.empty()) ahead_.begin(next);
  }

  const model::ModelKind& kind_;
  const StageTools& tools_;
  ImageAhead ahead_;
};

class TakeSize final : public Stage {
 public:
  explicit TakeSize(const model::ModelKind& kind) : kind_(kind) {}
  std::string_view phase() const override { return {}; }
  Names takes() const override { return {}; }
  Names makes() const override { return {}; }
  bool is_needed(const RequestRun& run) const override { return !has_image(run.setup().request, kind_); }
  void run(RequestRun& run) override { run.set_size(run.setup().request.size); }

 private:
  const model::ModelKind& kind_;
};

class RestoreOrDrawNoise final : public Stage {
 public:
  RestoreOrDrawNoise(const model::ModelKind& kind, const StageTools& tools) : kind_(kind), tools_(tools) {}
  std::string_view phase() const override { return {}; }
  Names takes() const override { return {}; }
  Names makes() const override { return {}; }

  void run(RequestRun& run) override {
    const model::VideoGeometry& geometry = kind_.geometry;
    const auto shape =
        geometry.latent_shape(geometry.latent_channels, run.setup().request.frame_num, run.size());
    run.restore(shape);
    if (run.state().latent.defined()) return;
    run.meeting().set_phase("denoise");
    run.meeting().with_memory([&] { run.state().latent = draw(run.setup().request, shape); });
  }

 private:
  /// Every rank draws the whole noise from one seed. It does not depend on the layout (model.md 7.3).
  at::Tensor draw(const Request& request, at::IntArrayRef shape) const {
    const bool on_gpu = request.noise_device == NoiseDevice::cuda;
    const at::Generator generator = on_gpu ? gpu::make_generator(tools_.gpu.index, request.seed)
                                           : at::detail::createCPUGenerator(request.seed);
    return at::randn(shape, generator, on_gpu ? tools_.compute.fp32() : at::TensorOptions(at::kFloat));
  }

  const model::ModelKind& kind_;
  const StageTools& tools_;
};

class EncodeTexts final : public Stage {
 public:
  explicit EncodeTexts(StageTools& tools) : tools_(tools) {}
  std::string_view phase() const override { return "text"; }
  Names takes() const override { return {}; }
  Names makes() const override { return {"context", "negative_context"}; }
  bool is_needed(const RequestRun& run) const override { return run.has_steps_left(); }

  void run(RequestRun& run) override {
    TeamMeeting& meeting = run.meeting();
    PromptEncoder& encoder = *tools_.networks.text;
    const Request& request = run.setup().request;
    const std::vector<std::string> texts = cleaned_texts(request);
    std::vector<std::string> ahead;
    if (encoder.has_to_load(texts)) {  // the same on every rank: they have encoded the same texts
      const LookAhead& look = tools_.look_ahead;
      if (meeting.leads()) ahead = texts_to_come(look.upcoming, request, texts_ahead(look.groups));
      ahead = broadcast_texts(meeting.group(), meeting.leader_rank(), ahead);
    }
    meeting.with_memory_and_files([&] { encoder.load_for(texts); });
    meeting.with_memory([&] { encoder.reserve_for(texts); });
    bool finite = true;
    meeting.with_memory([&] {
      const std::vector<at::Tensor> embeddings = encoder.encode(texts, ahead);  // [tokens, text_dim] each
      run.values().put("context", embeddings.front());
      if (embeddings.size() > 1) run.values().put("negative_context", embeddings.back());
      finite = is_finite(embeddings.front()) && is_finite(embeddings.back());
    });
    require(finite, "text", "the text encoder's output");
  }

 private:
  StageTools& tools_;
};

/// Running out of memory in the steps costs what was done until then: what the item is known to need is tried
/// beforehand.
class CheckMemory final : public Stage {
 public:
  CheckMemory(const model::ModelKind& kind, const StageTools& tools) : kind_(kind), tools_(tools) {}
  std::string_view phase() const override { return {}; }
  Names takes() const override { return {}; }
  Names makes() const override { return {}; }
  bool is_needed(const RequestRun& run) const override {
    return run.has_steps_left() && tools_.compute.on_gpu();
  }

  void run(RequestRun& run) override {
    run.meeting().set_phase("denoise");
    const std::int64_t bytes = denoise_bytes(run);
    std::optional<std::string> shortage;
    if (!gpu::has_room(bytes)) {
      shortage = fmt::format(
          "a video of {}x{} with {} frames takes about {:.1f} GiB on each GPU beside the weights, and the "
          "GPU of rank {} has {:.1f} GiB of {:.1f} in use; {}",
          run.size().width, run.size().height, run.setup().request.frame_num, gibibytes(bytes),
          run.setup().team.world_rank, gibibytes(static_cast<std::int64_t>(gpu::used_bytes())),
          gibibytes(static_cast<std::int64_t>(tools_.gpu.total_bytes)), run.setup().memory_remedy);
    }
    run.meeting().meet(shortage);
  }

 private:
  /// Bytes that denoising and the autoencoder need on each rank beside the weights that stay there.
  std::int64_t denoise_bytes(const RequestRun& run) const {
    const Request& request = run.setup().request;
    const int unguided_steps = count_unguided_steps(request, request.sample_steps);
    const bool guided = unguided_steps < request.sample_steps;
    const parallel::GroupCommunicators& team = run.setup().team;
    const parallel::PlanInput input{.transformer = tools_.networks.denoise->config(),
                                    .text_encoder = {},
                                    .vae_parameters = 0,
                                    .vae_family = tools_.networks.vae->config().family,
                                    .grid = team.passes(guided).shape,
                                    .geometry = kind_.geometry,
                                    .experts = static_cast<int>(kind_.experts.size()),
                                    .tokens = kind_.geometry.token_grid(request.frame_num, run.size()),
                                    .guided = guided,
                                    .unguided_steps = unguided_steps,
                                    .unguided_grid = team.unguided.shape,
                                    .placement = tools_.placement,
                                    .on_gpu = true,
                                    .element_bytes = static_cast<int>(c10::elementSize(tools_.compute.type))};
    return parallel::request_bytes(input);
  }

  const model::ModelKind& kind_;
  const StageTools& tools_;
};

class EncodeImage final : public Stage {
 public:
  EncodeImage(const model::ModelKind& kind, StageTools& tools) : kind_(kind), tools_(tools) {}
  std::string_view phase() const override { return "encode"; }
  Names takes() const override { return {"image"}; }
  Names makes() const override { return {result()}; }
  bool is_needed(const RequestRun& run) const override {
    return run.has_steps_left() && has_image(run.setup().request, kind_);
  }

  void run(RequestRun& run) override {
    const at::Tensor image = run.values().get("image");
    const int frame_num =
        is_first_frame() ? 1 : run.setup().request.frame_num;  // of the clip that is encoded
    const at::Tensor condition =  // fp32 [channels, latent frames, height, width]
        known_.find_or_encode(run, image, frame_num, [&] {
          at::Tensor made;
          bool finite = true;
          run.meeting().with_memory([&] {
            made = encode(run, image, frame_num);
            finite = is_finite(made);
          });
          require(finite, "encode", "the encoded image");
          return made;
        });
    run.values().drop("image");
    run.values().put(result(), condition);
  }

 private:
  bool is_first_frame() const { return kind_.conditioning == model::Conditioning::first_frame; }
  std::string_view result() const { return is_first_frame() ? "first_frame" : "condition"; }

  at::Tensor encode(const RequestRun& run, const at::Tensor& image, int frame_num) const {
    at::Tensor latent = tools_.networks.vae->encode_image(
        image, frame_num, *run.setup().team.vae);  // [channels, latent frames, height, width]
    if (is_first_frame()) return latent;
    const std::int64_t mask_channels = kind_.condition_channels - latent.size(0);
    const at::Tensor mask =
        at::zeros({mask_channels, latent.size(1), latent.size(2), latent.size(3)}, latent.options());
    mask.select(1, 0).fill_(1);
    return at::cat({mask, latent}, 0);
  }

  const model::ModelKind& kind_;
  StageTools& tools_;
  EncodedImages known_;
};

}  // namespace

std::unique_ptr<Stage> read_image(const model::ModelKind& kind, StageTools& tools) {
  return std::make_unique<ReadImage>(kind, tools);
}

std::unique_ptr<Stage> take_size(const model::ModelKind& kind) { return std::make_unique<TakeSize>(kind); }

std::unique_ptr<Stage> restore_or_draw_noise(const model::ModelKind& kind, StageTools& tools) {
  return std::make_unique<RestoreOrDrawNoise>(kind, tools);
}

std::unique_ptr<Stage> encode_texts(StageTools& tools) { return std::make_unique<EncodeTexts>(tools); }

std::unique_ptr<Stage> check_memory(const model::ModelKind& kind, StageTools& tools) {
  return std::make_unique<CheckMemory>(kind, tools);
}

std::unique_ptr<Stage> encode_image(const model::ModelKind& kind, StageTools& tools) {
  return std::make_unique<EncodeImage>(kind, tools);
}

}  // namespace wan::engine
