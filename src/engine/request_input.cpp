// What a request needs before its first step: texts, image, noise, and the state of an earlier run.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <array>
#include <tuple>
#include <utility>

#include "core/check.h"
#include "engine/image_condition.h"
#include "engine/request_run.h"
#include "engine/validate.h"
#include "gpu/device.h"
#include "media/image.h"
#include "parallel/agree.h"
#include "parallel/tensor_bytes.h"

namespace wan::engine {
namespace {

/// True of a tensor that is undefined.
bool is_finite(const at::Tensor& tensor) { return !tensor.defined() || tensor.isfinite().all().item<bool>(); }

/// On every rank alike, as all of them have the same values.
void require(bool finite, const char* stage, const char* what) {
  if (finite) return;
  fail_item(stage, "{} holds values that are not finite; the checkpoint's weights may be damaged", what);
}

}  // namespace

void WanEngine::Run::prepare() {
  const bool has_image = engine_.kind_.conditioning == model::Conditioning::image_channels;
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
  if (!has_image) return;
  phase("encode", [this] {
    bool finite = true;
    with_memory([&] {
      encode_image();
      finite = is_finite(input_.condition);
    });
    require(finite, "encode", "the encoded image");
  });
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
  const std::vector<std::string> texts = cleaned_texts(request_);
  TextStage& stage = *engine_.text_;
  std::vector<std::string> ahead;
  if (stage.has_to_load(texts)) {  // the same on every rank: they have encoded the same texts
    const LookAhead& look = engine_.look_ahead_;
    if (leads()) ahead = texts_to_come(look.upcoming, request_, texts_ahead(look.groups));
    ahead = broadcast_texts(group(), leader_rank_, ahead);
  }
  with_memory_and_files([&] { stage.load_for(texts); });
  with_memory([&] { stage.reserve_for(texts); });
  bool finite = true;
  with_memory([&] {
    const std::vector<at::Tensor> embeddings = stage.encode(texts, ahead);
    input_.context = embeddings.front();  // [tokens, text_dim]
    if (embeddings.size() > 1) input_.negative_context = embeddings.back();
    finite = is_finite(input_.context) && is_finite(input_.negative_context);
  });
  require(finite, "text", "the text encoder's output");
}

void WanEngine::Run::prepare_image() {
  std::array<std::int64_t, 2> sides{};  // width, height
  parallel::agree_on_root(group(), leader_rank_, "image", [&] {
    const media::Image image = media::read_image(request_.image);
    if (const std::string note = image_note(image, request_.image);
        !note.empty() && engine_.options_.on_note) {
      engine_.options_.on_note(fmt::format("{}: {}", request_.id, note));
    }
    const PixelSize size =
        fit_to_area({.width = image.width, .height = image.height}, request_.size, engine_.kind_.geometry);
    image_ = resize_image(image, size).contiguous();  // [3, height, width]
    sides = {size.width, size.height};
  });
  group().broadcast(std::as_writable_bytes(std::span(sides)), leader_rank_).wait();
  size_ = {.width = static_cast<int>(sides[0]), .height = static_cast<int>(sides[1])};
  with_memory([&] {
    if (!leads()) image_ = at::empty({3, size_.height, size_.width}, at::kFloat);
  });
  group().broadcast(parallel::writable_bytes_of(image_), leader_rank_).wait();
}

void WanEngine::Run::draw_noise() {
  // Every rank draws the whole noise from one seed. It does not depend on the layout (model.md 7.3).
  const bool on_gpu = request_.noise_device == NoiseDevice::cuda;
  const at::Generator generator = on_gpu ? gpu::make_generator(engine_.options_.gpu.index, request_.seed)
                                         : at::detail::createCPUGenerator(request_.seed);
  const model::VideoGeometry& geometry = engine_.kind_.geometry;
  input_.start.latent =
      at::randn(geometry.latent_shape(geometry.latent_channels, request_.frame_num, size_), generator,
                on_gpu ? engine_.options_.compute.fp32() : at::TensorOptions(at::kFloat));
}

void WanEngine::Run::encode_image() {
  const at::Tensor latent =
      engine_.vae_->encode_image(image_, request_.frame_num, *team_.vae);  // [16, frames, height, width]
  image_.reset();
  const std::int64_t mask_channels = engine_.kind_.condition_channels - latent.size(0);
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
  await_leader();
  broadcast_state(group(), leader_rank_, state);
  if (state.steps_done > 0) input_.start = std::move(state);
}

}  // namespace wan::engine
