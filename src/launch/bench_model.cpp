#include "launch/bench_model.h"

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "core/check.h"

namespace wan::launch {
namespace {

constexpr std::int64_t full_dim = 5120;
constexpr std::int64_t full_text_dim = 4096;
constexpr std::int64_t text_head_dim = 64;

checkpoint::TransformerConfig full_transformer(const std::string& model_type) {
  constexpr std::int64_t latent_channels = 16;
  constexpr std::int64_t condition_channels = 20;
  return {.model_type = model_type,
          .dim = full_dim,
          .ffn_dim = 13824,
          .freq_dim = 256,
          .in_dim = latent_channels + (model_type == "i2v" ? condition_channels : 0),
          .out_dim = latent_channels,
          .text_dim = full_text_dim,
          .text_len = 512,
          .num_heads = 40,
          .num_layers = 40,
          .eps = 1e-6};
}

/// `full` times part / whole, as a multiple of `step`.
std::int64_t scaled(std::int64_t full, std::int64_t part, std::int64_t whole, std::int64_t step) {
  return std::max(step, full * part / whole / step * step);
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

std::int64_t BenchModel::vae_parameters() const {
  std::int64_t elements = 0;
  for (const vae::ExpectedShape& tensor : vae::vae_tensors(vae)) {
    elements +=
        std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::int64_t{1}, std::multiplies<>());
  }
  return elements;
}

BenchModel bench_model(const std::string& name) {
  constexpr std::int64_t full_vae_width = 96;
  BenchModel model;
  if (name == "i2v-A14B" || name == "t2v-A14B") {
    model.transformer = full_transformer(name.substr(0, 3));
  } else if (std::filesystem::exists(name)) {
    // The official file does not say how wide the text is: in proportion, as wide as the full model's.
    model.transformer = checkpoint::read_transformer_config_file(name, 0);
    std::int64_t& text_dim = model.transformer.text_dim;
    if (text_dim == 0) text_dim = scaled(full_text_dim, model.transformer.dim, full_dim, text_head_dim);
  } else {
    fail<UsageError>("--model {}: neither i2v-A14B nor t2v-A14B, and there is no such file", name);
  }
  model.text_encoder = text_encoder_of(model.transformer.text_dim);
  model.vae.base_width = scaled(full_vae_width, model.transformer.dim, full_dim, 8);
  return model;
}

}  // namespace wan::launch
