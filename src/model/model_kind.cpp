#include "model/model_kind.h"

#include <algorithm>

#include "core/check.h"

namespace wan::model {
namespace {

constexpr std::int64_t mask_channels = 4;

ModelKind a14b(TaskKind kind) {
  return {.task = kind == TaskKind::i2v ? "i2v-A14B" : "t2v-A14B",
          .kind = kind,
          .model_type = kind == TaskKind::i2v ? "i2v" : "t2v",
          .experts = {{.expert = Expert::high_noise, .folder = "high_noise_model"},
                      {.expert = Expert::low_noise, .folder = "low_noise_model"}},
          .text_encoder_file = "models_t5_umt5-xxl-enc-bf16.pth",
          .vae_file = "Wan2.1_VAE.pth",
          .tokenizer_folder = "google/umt5-xxl",
          .geometry = wan21_geometry,
          .conditioning = Conditioning::none,
          .condition_channels = 0,
          .defaults = {}};
}

ModelKind i2v_a14b() {
  ModelKind kind = a14b(TaskKind::i2v);  // TaskDefaults' own values are this model's
  kind.conditioning = Conditioning::image_channels;
  kind.condition_channels = mask_channels + kind.geometry.latent_channels;
  return kind;
}

ModelKind t2v_a14b() {
  ModelKind kind = a14b(TaskKind::t2v);
  kind.defaults.sample_shift = 12.0;
  kind.defaults.guide_scale = {.low_noise = 3.0, .high_noise = 4.0};
  kind.defaults.boundary = 0.875;
  return kind;
}

}  // namespace

std::span<const ModelKind> model_kinds() {
  static const std::vector<ModelKind> kinds{i2v_a14b(), t2v_a14b()};
  return kinds;
}

const ModelKind& model_kind(std::string_view task) {
  const auto found = std::ranges::find(model_kinds(), task, &ModelKind::task);
  if (found == model_kinds().end())
    fail<UsageError>("there is no task '{}'; the tasks are {}", task, known_tasks());
  return *found;
}

const ModelKind* find_model_type(std::string_view model_type) {
  const auto found = std::ranges::find(model_kinds(), model_type, &ModelKind::model_type);
  return found == model_kinds().end() ? nullptr : &*found;
}

std::string known_tasks() {
  std::string text;
  const std::span<const ModelKind> kinds = model_kinds();
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    if (i > 0) text += i + 1 == kinds.size() ? " and " : ", ";
    text += kinds[i].task;
  }
  return text;
}

}  // namespace wan::model
