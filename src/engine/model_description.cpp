#include "engine/model_description.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <numeric>
#include <span>

#include "checkpoint/checkpoint.h"
#include "core/check.h"
#include "engine/checkpoint_match.h"
#include "engine/model_parts.h"

namespace wan::engine {
namespace {

constexpr std::int64_t full_text_dim = 4096;
constexpr std::int64_t text_head_dim = 64;

/// The official image encoder (model.md 10.1).
constexpr checkpoint::ImageEncoderConfig clip_vit_h{
    .dim = 1280, .ffn_dim = 5120, .image_size = 224, .patch_size = 14, .num_layers = 31};

checkpoint::TransformerConfig full_transformer(const model::ModelKind& kind) {
  return {.model_type = std::string(kind.model_type),
          .dim = kind.official.dim,
          .ffn_dim = kind.official.ffn_dim,
          .freq_dim = 256,
          .in_dim = kind.input_channels(),
          .out_dim = kind.geometry.latent_channels,
          .text_dim = full_text_dim,
          .text_len = 512,
          .num_heads = kind.official.num_heads,
          .num_layers = kind.official.num_layers,
          .eps = 1e-6,
          .image_dim = kind.has_image_encoder() ? clip_vit_h.dim : 0};
}

/// Sizes of an expert whose files hold every tensor of the model, as their headers say.
checkpoint::TransformerConfig describe_expert(const std::filesystem::path& folder) {
  return open_expert(folder).config;
}

/// The kind of a config.json by itself: one of its type with these official sizes, else the first of its
/// type.
const model::ModelKind* kind_of_sizes(const checkpoint::TransformerConfig& config) {
  for (const model::ModelKind& kind : model::model_kinds())
    if (kind.official.dim == config.dim && kind.model_type == config.model_type) return &kind;
  return model::find_model_type(config.model_type);
}

/// `full` times part / whole, as a multiple of `step`.
std::int64_t scaled(std::int64_t full, std::int64_t part, std::int64_t whole, std::int64_t step) {
  return std::max(step, full * part / whole / step * step);
}

/// The official autoencoder of a kind, as narrow as a transformer of this width in proportion to the official
/// one.
vae::VaeConfig vae_of(const model::ModelKind& kind, std::int64_t dim) {
  const auto width = [&](std::int64_t full) { return scaled(full, dim, kind.official.dim, 8); };
  return kind.geometry == model::wan22_geometry ? vae::VaeConfig::wan22(width(160), width(256))
                                                : vae::VaeConfig::wan21(width(96));
}

/// umT5-XXL, narrowed to this text width.
checkpoint::TextEncoderConfig text_encoder_of(std::int64_t text_dim) {
  const std::int64_t attention_dim = scaled(full_text_dim, text_dim, full_text_dim, text_head_dim);
  return {.vocabulary = 256384,
          .dim = text_dim,
          .attention_dim = attention_dim,
          .ffn_dim = scaled(10240, text_dim, full_text_dim, 8),
          .num_heads = attention_dim / text_head_dim,
          .num_layers = text_dim == full_text_dim ? 24 : 2,
          .num_buckets = 32};
}

}  // namespace

std::int64_t ModelDescription::vae_parameters() const {
  std::int64_t elements = 0;
  for (const vae::ExpectedShape& tensor : vae::vae_tensors(vae)) {
    elements +=
        std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::int64_t{1}, std::multiplies<>());
  }
  return elements;
}

ModelDescription describe_model(const checkpoint::CheckpointFolder& folder) {
  ModelDescription description;
  description.kind = &model::model_kind(folder.task.name);
  const checkpoint::ExpertFolder& first = folder.experts.front();
  description.transformer = describe_expert(first.path);
  for (const checkpoint::ExpertFolder& other : std::span(folder.experts).subspan(1)) {
    checkpoint::expect_same_config(description.transformer, first.name(), describe_expert(other.path),
                                   other.name());
  }
  const auto encoder = checkpoint::Checkpoint::open_part(checkpoint::Part::text_encoder, folder.text_encoder);
  description.text_encoder = text_encoder_model(encoder).config;
  require_text_width(folder, description.text_encoder, description.transformer);
  require_image_branch(folder, description.transformer);
  if (description.kind->has_image_encoder()) {
    const auto clip =
        checkpoint::Checkpoint::open_part(checkpoint::Part::image_encoder, folder.image_encoder);
    description.image_encoder = image_encoder_model(clip).config;
    require_image_width(folder, *description.image_encoder, description.transformer);
  }
  description.vae = vae_model(checkpoint::Checkpoint::open_part(checkpoint::Part::vae, folder.vae)).config;
  require_vae_fits(folder, description.vae);
  return description;
}

ModelDescription describe_named_model(const std::string& name) {
  ModelDescription description;
  const auto kind = std::ranges::find(model::model_kinds(), name, &model::ModelKind::task);
  if (kind != model::model_kinds().end()) {
    description.kind = &*kind;
    description.transformer = full_transformer(*kind);
    if (kind->has_image_encoder()) description.image_encoder = clip_vit_h;
  } else if (std::filesystem::exists(name)) {
    // The official file does not say how wide the text is: in proportion, as wide as the full model's.
    description.transformer = checkpoint::read_transformer_config_file(name, 0);
    description.kind = kind_of_sizes(description.transformer);
    std::int64_t& text_dim = description.transformer.text_dim;
    if (text_dim == 0) {
      text_dim =
          scaled(full_text_dim, description.transformer.dim, description.kind->official.dim, text_head_dim);
    }
  } else {
    fail<UsageError>("the model '{}' is none of {}, and there is no such file", name, model::known_tasks());
  }
  description.text_encoder = text_encoder_of(description.transformer.text_dim);
  description.vae = vae_of(*description.kind, description.transformer.dim);
  return description;
}

}  // namespace wan::engine
