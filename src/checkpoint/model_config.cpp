#include "checkpoint/model_config.h"

#include <fmt/ranges.h>

#include <array>
#include <charconv>
#include <cmath>
#include <set>
#include <utility>

#include "checkpoint/transformer_config_file.h"
#include "checkpoint/unsupported_model.h"
#include "core/check.h"
#include "model/model_kind.h"

namespace wan::checkpoint {
namespace {

// Far above any released model. A small file must not ask for terabytes of activations: they are as wide as a
// layer, the text encoder's bias has the heads times the square of the tokens, and CLIP's attention likewise.
constexpr std::int64_t max_size = 1 << 19;  // umT5's vocabulary has 256,384 tokens
constexpr std::int64_t max_text_heads = 1024;
constexpr std::int64_t max_patch_side = 64;                       // patches in a row of CLIP's image
constexpr std::int64_t max_image_size = 1024;                     // pixels of it
constexpr std::string_view image_norm = "img_emb.proj.0.weight";  // only Wan 2.1's image branch has it
constexpr std::int64_t patch_pixels = 4;                          // the patch is 1x2x2 (model.md 1.2)

/// A tensor's shape. Throws unless it has the expected number of dimensions, each from 1 to max_size.
const std::vector<std::int64_t>& shape_of(const Checkpoint& weights, std::string_view name,
                                          std::size_t dimensions) {
  const TensorEntry& entry = weights.entry(name);
  bool fits = entry.shape.size() == dimensions;
  for (const std::int64_t size : entry.shape) fits = fits && size >= 1 && size <= max_size;
  if (!fits) {
    fail<UsageError>("{}: tensor {} has the shape {}; expected {} dimensions of 1 to {}", entry.file.string(),
                     in_quotes(name), shape_text(entry.shape), dimensions, max_size);
  }
  return entry.shape;
}

/// The number of different N in `prefix` N ".". They must be 0, 1, ... without gaps.
std::int64_t count_layers(const Checkpoint& weights, std::string_view prefix = "blocks.") {
  std::set<std::int64_t> layers;
  for (const auto& [name, entry] : weights.entries()) {
    if (!name.starts_with(prefix)) continue;
    std::int64_t layer = -1;
    const char* end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + prefix.size(), end, layer);
    if (parsed.ec != std::errc() || parsed.ptr == end || *parsed.ptr != '.' || layer < 0) {
      fail<UsageError>("{}: tensor {}: expected {}N.… with a layer number N", entry.file.string(),
                       in_quotes(name), prefix);
    }
    layers.insert(layer);
  }
  const auto count = static_cast<std::int64_t>(layers.size());
  if (count == 0)
    fail<UsageError>("{}: no tensor of a block ({}0.…) found", weights.source().string(), prefix);
  if (*layers.rbegin() != count - 1) {
    fail<UsageError>("{}: tensors of {} blocks found, the last one being {}{}; blocks are missing",
                     weights.source().string(), count, prefix, *layers.rbegin());
  }
  return count;
}

void expect_size(const TransformerConfigFile& config, const char* key, std::int64_t in_file,
                 const std::string& from) {
  if (config.contains(key) && config.size(key) != in_file) {
    fail<UsageError>("{}: '{}' is {}, but the tensors give {} ({}); file and weights do not belong together",
                     config.path().string(), config.key_in_file(key), config.size(key), in_file, from);
  }
}

TransformerConfig config_from_shapes(const Checkpoint& weights) {
  TransformerConfig config;
  const auto& patch = shape_of(weights, "patch_embedding.weight", 5);  // [dim, in_dim, 1, 2, 2]
  config.dim = patch[0];
  config.in_dim = patch[1];
  config.freq_dim = shape_of(weights, "time_embedding.0.weight", 2)[1];
  config.text_dim = shape_of(weights, "text_embedding.0.weight", 2)[1];
  config.ffn_dim = shape_of(weights, "blocks.0.ffn.0.weight", 2)[0];
  const std::int64_t head_rows = shape_of(weights, "head.head.weight", 2)[0];
  if (head_rows % patch_pixels != 0) {
    fail<UsageError>(
        "{}: tensor 'head.head.weight' has {} rows; expected a multiple of {}, the pixels of a patch",
        weights.source().string(), head_rows, patch_pixels);
  }
  config.out_dim = head_rows / patch_pixels;
  config.num_layers = count_layers(weights);
  if (weights.contains(image_norm)) config.image_dim = shape_of(weights, image_norm, 1)[0];
  return config;
}

void check_consistency(const TransformerConfig& config, const std::string& where) {
  if (config.dim % config.num_heads != 0 || config.head_dim() % 2 != 0) {
    fail<UsageError>("{}: 'num_heads' is {}, which does not divide dim {} into heads of even size", where,
                     config.num_heads, config.dim);
  }
  if (config.freq_dim % 2 != 0) {
    fail<UsageError>("{}: 'freq_dim' is {}; expected an even number", where, config.freq_dim);
  }
  const model::ModelKind& kind =
      *model::find_model_type(config.model_type);  // no other type is accepted before
  if (config.in_dim != kind.input_channels() || config.out_dim != kind.geometry.latent_channels) {
    fail<UsageError>("{}: a {} model with in_dim {} and out_dim {}; expected {} and {}", where,
                     config.model_type, config.in_dim, config.out_dim, kind.input_channels(),
                     kind.geometry.latent_channels);
  }
}

/// Sizes of a file without config.json. Nothing holds the number of heads: it is that of the released model
/// of this width.
TransformerConfig config_of_lone_file(const std::filesystem::path& file, const Checkpoint& weights) {
  refuse_unsupported_tensors(weights);
  TransformerConfig config = config_from_shapes(weights);
  std::set<std::int64_t> widths;
  for (const model::ModelKind& kind : model::model_kinds()) {
    widths.insert(kind.official.dim);
    if (kind.official.dim == config.dim) config.num_heads = kind.official.num_heads;
    if (kind.input_channels() == config.in_dim) config.model_type = kind.model_type;
  }
  if (config.model_type.empty()) {
    fail<UsageError>(
        "{}: tensor 'patch_embedding.weight' takes {} channels; this program knows models of 16 (text to "
        "video), "
        "36 (image to video) and 48 (TI2V-5B). It supports {}",
        file.string(), config.in_dim, model::known_tasks());
  }
  if (config.num_heads == 0) {
    fail<UsageError>(
        "{}: the width is {}, and a file without config.json does not hold the number of heads. It is known "
        "for "
        "the released widths {}. Give a folder with the file and its config.json",
        file.string(), config.dim, fmt::join(widths, ", "));
  }
  config.text_len = 512;
  config.eps = 1e-6;
  check_consistency(config, file.string());
  return config;
}

void expect_fixed_values(const TransformerConfigFile& file) {
  file.expect_fixed("text_len", 512);  // the official value; prompts are cut to it
  file.expect_fixed("patch_size", {1, 2, 2});
  file.expect_fixed("window_size", {-1, -1});
  file.expect_fixed("qk_norm", true);
  file.expect_fixed("cross_attn_norm", true);
}

}  // namespace

TransformerConfig read_transformer_config(const std::filesystem::path& place, const Checkpoint& weights) {
  std::error_code unreadable;
  if (std::filesystem::is_regular_file(place, unreadable)) return config_of_lone_file(place, weights);
  const TransformerConfigFile file(place / "config.json");
  refuse_unsupported_tensors(weights);
  TransformerConfig config = config_from_shapes(weights);
  config.model_type = file.model_type();
  config.num_heads = file.size("num_heads");
  config.text_len = file.size_or("text_len", 512);
  config.eps = file.eps();
  for (const auto& [key, size, from] : {std::tuple{"dim", config.dim, "patch_embedding.weight"},
                                        std::tuple{"in_dim", config.in_dim, "patch_embedding.weight"},
                                        std::tuple{"freq_dim", config.freq_dim, "time_embedding.0.weight"},
                                        std::tuple{"text_dim", config.text_dim, "text_embedding.0.weight"},
                                        std::tuple{"ffn_dim", config.ffn_dim, "blocks.0.ffn.0.weight"},
                                        std::tuple{"out_dim", config.out_dim, "head.head.weight"},
                                        std::tuple{"num_layers", config.num_layers, "blocks.N"}}) {
    expect_size(file, key, size, from);
  }
  expect_fixed_values(file);
  check_consistency(config, file.path().string());
  return config;
}

TransformerConfig read_transformer_config_file(const std::filesystem::path& path, std::int64_t text_dim) {
  const TransformerConfigFile file(path);
  const std::string type = file.model_type();
  const std::int64_t latent_channels = model::find_model_type(type)->geometry.latent_channels;
  TransformerConfig config{.model_type = type,
                           .dim = file.size("dim"),
                           .ffn_dim = file.size("ffn_dim"),
                           .freq_dim = file.size_or("freq_dim", 256),
                           .in_dim = file.size("in_dim"),
                           .out_dim = file.size_or("out_dim", latent_channels),
                           .text_dim = file.size_or("text_dim", text_dim),
                           .text_len = file.size_or("text_len", 512),
                           .num_heads = file.size("num_heads"),
                           .num_layers = file.size("num_layers"),
                           .eps = file.eps()};
  expect_fixed_values(file);
  check_consistency(config, file.path().string());
  return config;
}

void expect_same_config(const TransformerConfig& config, const std::string& name,
                        const TransformerConfig& other, const std::string& other_name) {
  const auto compare = [&](const char* size, const auto& one, const auto& two) {
    if (one != two) {
      fail<UsageError>("{} and {} differ in {}: {} and {}; they belong to two checkpoints", name, other_name,
                       size, one, two);
    }
  };
  compare("model_type", config.model_type, other.model_type);
  compare("dim", config.dim, other.dim);
  compare("ffn_dim", config.ffn_dim, other.ffn_dim);
  compare("freq_dim", config.freq_dim, other.freq_dim);
  compare("in_dim", config.in_dim, other.in_dim);
  compare("out_dim", config.out_dim, other.out_dim);
  compare("text_dim", config.text_dim, other.text_dim);
  compare("text_len", config.text_len, other.text_len);
  compare("num_heads", config.num_heads, other.num_heads);
  compare("num_layers", config.num_layers, other.num_layers);
  compare("eps", config.eps, other.eps);
  compare("the width of the image features", config.image_dim, other.image_dim);
}

ImageEncoderConfig read_image_encoder_config(const Checkpoint& weights) {
  ImageEncoderConfig config;
  const auto& patch = shape_of(weights, "visual.patch_embedding.weight", 4);  // [dim, 3, patch, patch]
  config.dim = patch[0];
  config.patch_size = patch[3];
  const std::int64_t patches = shape_of(weights, "visual.pos_embedding", 3)[1] - 1;
  const auto side = static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(patches))));
  if (patches < 1 || side * side != patches) {
    fail<UsageError>("{}: tensor 'visual.pos_embedding' has {} positions; expected one and a square number",
                     weights.source().string(), patches + 1);
  }
  config.image_size = side * config.patch_size;
  if (side > max_patch_side || config.image_size > max_image_size) {
    fail<UsageError>(
        "{}: CLIP would see {} x {} patches of {} pixels a side; at most {} x {} and {} pixels in all "
        "are supported: use the file of the official checkpoint",
        weights.source().string(), side, side, config.patch_size, max_patch_side, max_patch_side,
        max_image_size);
  }
  config.ffn_dim = shape_of(weights, "visual.transformer.0.mlp.0.weight", 2)[0];
  config.num_layers = count_layers(weights, "visual.transformer.") - 1;  // the last one is not used
  if (config.num_layers < 1)
    fail<UsageError>("{}: one block of CLIP; expected two or more", weights.source().string());
  if (config.dim % config.num_heads != 0) {
    fail<UsageError>("{}: CLIP's width is {}; expected a multiple of its {} heads", weights.source().string(),
                     config.dim, config.num_heads);
  }
  return config;
}

TextEncoderConfig read_text_encoder_config(const Checkpoint& weights) {
  TextEncoderConfig config;
  const auto& embedding = shape_of(weights, "token_embedding.weight", 2);  // [vocabulary, dim]
  config.vocabulary = embedding[0];
  config.dim = embedding[1];
  config.attention_dim = shape_of(weights, "blocks.0.attn.q.weight", 2)[0];
  config.ffn_dim = shape_of(weights, "blocks.0.ffn.fc1.weight", 2)[0];
  const auto& bias = shape_of(weights, "blocks.0.pos_embedding.embedding.weight", 2);  // [buckets, heads]
  config.num_buckets = bias[0];
  config.num_heads = bias[1];
  config.num_layers = count_layers(weights);
  if (config.num_heads > max_text_heads) {
    fail<UsageError>(
        "{}: the position bias has {} heads; at most {} are supported: use the file of the official "
        "checkpoint",
        weights.source().string(), config.num_heads, max_text_heads);
  }
  if (config.attention_dim % config.num_heads != 0) {
    fail<UsageError>("{}: the attention width {} is not a multiple of the {} heads of the position bias",
                     weights.source().string(), config.attention_dim, config.num_heads);
  }
  // The bucket formula halves the buckets twice: by sign and by distance (model.md 3.2).
  if (config.num_buckets % 4 != 0) {
    fail<UsageError>("{}: the position bias has {} buckets; expected a multiple of 4",
                     weights.source().string(), config.num_buckets);
  }
  return config;
}

}  // namespace wan::checkpoint
