#include "model/model_kind.h"

#include <algorithm>
#include <functional>
#include <string>

#include "core/check.h"

namespace wan::model {
namespace {

constexpr std::int64_t mask_channels = 4;

/// Sizes of the 14B models.
constexpr TransformerSizes sizes_14b{.dim = 5120, .ffn_dim = 13824, .num_heads = 40, .num_layers = 40};

ModelKind a14b(TaskKind kind) {
  return {.task = kind == TaskKind::i2v ? "i2v-A14B" : "t2v-A14B",
          .kind = kind,
          .model_type = kind == TaskKind::i2v ? "i2v" : "t2v",
          .experts = {{.expert = Expert::high_noise, .folder = "high_noise_model"},
                      {.expert = Expert::low_noise, .folder = "low_noise_model"}},
          .official = sizes_14b,
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

/// A text-to-video model of Wan 2.1. Both calls of the model are guided by one scale (model.md 7.5).
ModelKind wan21_t2v(std::string_view task, const TransformerSizes& sizes) {
  ModelKind kind = a14b(TaskKind::t2v);
  kind.task = task;
  kind.experts = {{.expert = Expert::single, .folder = ""}};
  kind.official = sizes;
  kind.defaults.sample_steps = 50;
  kind.defaults.guide_scale = {.low_noise = 5.0, .high_noise = 5.0};
  kind.defaults.boundary.reset();
  return kind;
}

ModelKind t2v_1_3b() {
  ModelKind kind = wan21_t2v("t2v-1.3B", {.dim = 1536, .ffn_dim = 8960, .num_heads = 12, .num_layers = 30});
  kind.has_fp16 = true;
  kind.defaults.size = {.width = 832, .height = 480};
  return kind;
}

/// Text, or text and image, to video with the autoencoder of Wan 2.2 (model.md 7.8).
ModelKind ti2v_5b() {
  ModelKind kind = wan21_t2v("ti2v-5B", {.dim = 3072, .ffn_dim = 14336, .num_heads = 24, .num_layers = 30});
  kind.kind = TaskKind::ti2v;
  kind.model_type = "ti2v";
  kind.vae_file = "Wan2.2_VAE.pth";
  kind.geometry = wan22_geometry;
  kind.conditioning = Conditioning::first_frame;
  kind.has_fp16 = true;
  kind.defaults.size = {.width = 1280, .height = 704};
  kind.defaults.frame_num = 121;
  kind.defaults.fps = 24;
  return kind;
}

/// The image-to-video model of Wan 2.1, for 480p and for 720p alike: files, sizes and defaults are the same.
ModelKind i2v_14b() {
  static const std::string negative_prompt = "镜头晃动，" + std::string(default_negative_prompt());
  ModelKind kind = i2v_a14b();
  kind.task = "i2v-14B";
  kind.experts = {{.expert = Expert::single, .folder = ""}};
  kind.image_encoder_file = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth";
  kind.defaults.sample_shift_480p = 3.0;
  kind.defaults.guide_scale = {.low_noise = 5.0, .high_noise = 5.0};
  kind.defaults.boundary.reset();
  kind.defaults.negative_prompt = negative_prompt;
  return kind;
}

/// The names of some kinds, "i2v-A14B, ... and t2v-14B".
std::string names_of(const std::function<bool(const ModelKind&)>& is_meant) {
  std::vector<std::string_view> names;
  for (const ModelKind& kind : model_kinds())
    if (is_meant(kind)) names.push_back(kind.task);
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? " and " : ", ";
    text += names[i];
  }
  return text;
}

}  // namespace

std::span<const ModelKind> model_kinds() {
  static const std::vector<ModelKind> kinds{
      i2v_a14b(), t2v_a14b(), t2v_1_3b(), wan21_t2v("t2v-14B", sizes_14b), i2v_14b(), ti2v_5b()};
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

const ModelKind* find_single(std::string_view model_type, std::int64_t dim) {
  const ModelKind* best = nullptr;
  const auto is_better = [&](const ModelKind& kind) {
    if (best == nullptr) return true;
    const std::int64_t width = kind.official.dim;
    if ((width >= dim) != (best->official.dim >= dim)) return width >= dim;
    return width >= dim ? width < best->official.dim : width > best->official.dim;
  };
  for (const ModelKind& kind : model_kinds())
    if (kind.has_one_expert() && kind.model_type == model_type && is_better(kind)) best = &kind;
  return best;
}

bool have_same_files(const ModelKind& one, const ModelKind& other) {
  return one.has_one_expert() == other.has_one_expert() && one.model_type == other.model_type;
}

void require_values_fit(const ModelKind& kind, std::optional<double> boundary,
                        const std::optional<GuideScale>& guide_scale, std::string_view boundary_name,
                        std::string_view scale_name) {
  if (!kind.has_one_expert()) return;
  if (boundary) {
    fail<UsageError>("{}: {} has one expert, and so no boundary between two; leave it out", boundary_name,
                     kind.task);
  }
  if (guide_scale && guide_scale->low_noise != guide_scale->high_noise) {
    fail<UsageError>("{}: {} has one expert and takes one guidance scale, not the two {}:{}", scale_name,
                     kind.task, guide_scale->low_noise, guide_scale->high_noise);
  }
}

void require_size_fits(const ModelKind& kind, PixelSize size, std::string_view name) {
  const int step = kind.geometry.pixels_per_token();
  if (size.width % step == 0 && size.height % step == 0) return;
  const auto nearest = [&](int side) { return std::max(step, side / step * step); };
  fail<UsageError>("{}: {}*{} has a side that is no multiple of {}, as {} needs them; use {}*{}", name,
                   size.width, size.height, step, kind.task, nearest(size.width), nearest(size.height));
}

void require_fp16_offered(const ModelKind& kind, std::string_view name) {
  if (kind.has_fp16) return;
  fail<UsageError>("{} is offered for {}, not for {}; use bf16, or fp32", name,
                   names_of([](const ModelKind& other) { return other.has_fp16; }), kind.task);
}

std::string known_tasks() {
  return names_of([](const ModelKind& /*kind*/) { return true; });
}

}  // namespace wan::model
