#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/weight_source.h"
#include "wan/engine.h"
#include "wan/request.h"

namespace wan::checkpoint {

/// Sizes of a diffusion transformer (model.md 1.2).
struct TransformerConfig {
  std::string model_type;     ///< "i2v" or "t2v"
  std::int64_t dim = 0;       ///< width of the residual stream
  std::int64_t ffn_dim = 0;   ///< width inside the feed-forward
  std::int64_t freq_dim = 0;  ///< of the sinusoidal time embedding
  std::int64_t in_dim = 0;    ///< latent channels in: 16, and for i2v 20 of the condition
  std::int64_t out_dim = 0;   ///< latent channels out
  std::int64_t text_dim = 0;  ///< width of the text encoder
  std::int64_t text_len = 0;  ///< tokens that the text is padded to
  std::int64_t num_heads = 0;
  std::int64_t num_layers = 0;
  double eps = 0;
  std::int64_t head_dim() const { return dim / num_heads; }
  bool operator==(const TransformerConfig&) const = default;
};

/// Sizes of the umT5 encoder (model.md 3.1).
struct TextEncoderConfig {
  std::int64_t vocabulary = 0;
  std::int64_t dim = 0;
  std::int64_t attention_dim = 0;
  std::int64_t ffn_dim = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_buckets = 0;  ///< of the relative position bias
  bool operator==(const TextEncoderConfig&) const = default;
};

/// One diffusion transformer of a checkpoint.
struct ExpertFolder {
  Expert expert = Expert::high_noise;
  std::filesystem::path path;  ///< folder with config.json and safetensors

  std::string name() const { return path.filename().string(); }
};

/// A checkpoint in the official layout (model.md 1.1), all parts present.
struct CheckpointFolder {
  std::filesystem::path root;
  std::vector<ExpertFolder> experts;   ///< the one for the noisiest steps first
  std::filesystem::path text_encoder;  ///< models_t5_umt5-xxl-enc-bf16.pth
  std::filesystem::path vae;           ///< Wan2.1_VAE.pth
  std::filesystem::path tokenizer;     ///< google/umt5-xxl
  Task task;                           ///< i2v-A14B or t2v-A14B
};

/// Finds the parts of a checkpoint and its task by name and config.json; opens no weights. `given` may be a
/// folder of the hub's cache with one snapshot, too. Throws UsageError: the folder is absent or another one
/// is meant (named); parts are missing (all are listed, with the expected layout); it is a checkpoint of a
/// task that is not built (TI2V-5B, S2V-14B, Animate-14B, Wan 2.1, VACE, Diffusers' layout), named.
CheckpointFolder inspect_checkpoint(const std::filesystem::path& given);

/// Sizes from `folder`/config.json, checked against the tensors' shapes: the head count is only in the file,
/// the text width only in the shapes, everything else in both. Throws UsageError: a value is missing, of the
/// wrong type, out of range or not that of the tensors; a model that is not built (image branch of Wan 2.1,
/// audio, VACE, animation, 48 latent channels), named.
TransformerConfig read_transformer_config(const std::filesystem::path& folder, const Checkpoint& weights);

/// Sizes from a config.json alone, which must name them all; `text_dim` where it does not name that one,
/// which the official file leaves to the tensors. Throws UsageError as read_transformer_config() does.
TransformerConfig read_transformer_config_file(const std::filesystem::path& path, std::int64_t text_dim);

/// Throws UsageError naming the first size in which two experts differ. `name`, `other_name`: their folders.
void expect_same_config(const TransformerConfig& config, const std::string& name,
                        const TransformerConfig& other, const std::string& other_name);

/// Sizes from the tensors' shapes. Throws UsageError if they are not those of a umT5 encoder.
TextEncoderConfig read_text_encoder_config(const Checkpoint& weights);

/// The transformer's parameters by unit (model.md 1.3): "stem", "blocks.0" ..., "head"; offsets in elements,
/// without gaps. In a block q, k, v weights of the self-attention lie side by side, one [3*dim, dim] matrix,
/// and so do their biases, and k, v of the cross-attention.
std::vector<UnitLayout> transformer_units(const TransformerConfig& config);

/// The text encoder's parameters by unit (model.md 1.4): "blocks.0" ..., "final". token_embedding.weight is
/// in none.
std::vector<UnitLayout> text_encoder_units(const TextEncoderConfig& config);

/// Every tensor of the file, in the order of the units.
std::vector<ExpectedTensor> transformer_tensors(const TransformerConfig& config);
std::vector<ExpectedTensor> text_encoder_tensors(const TextEncoderConfig& config);

}  // namespace wan::checkpoint
