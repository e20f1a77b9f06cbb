#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/given_parts.h"
#include "checkpoint/weight_source.h"
#include "wan/engine.h"
#include "wan/request.h"

namespace wan::checkpoint {

/// Sizes of a diffusion transformer (model.md 1.2).
struct TransformerConfig {
  std::string model_type;     ///< "i2v" or "t2v"
  std::int64_t dim = 0;       ///< width of the residual stream
  std::int64_t ffn_dim = 0;   ///< width inside the feed-forward
  std::int64_t freq_dim = 0;  ///< width of the sinusoidal time embedding
  std::int64_t in_dim = 0;    ///< latent channels in: 16, for i2v 20 more for the condition
  std::int64_t out_dim = 0;   ///< latent channels out
  std::int64_t text_dim = 0;  ///< width of the text encoder
  std::int64_t text_len = 0;  ///< number of tokens to which the text is padded
  std::int64_t num_heads = 0;
  std::int64_t num_layers = 0;
  double eps = 0;
  std::int64_t image_dim = 0;  ///< width of the CLIP features that the blocks attend to; 0: they do not
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
  std::int64_t num_buckets = 0;  ///< number of buckets of the relative position bias
  bool operator==(const TextEncoderConfig&) const = default;
};

/// Sizes of the vision part of CLIP, as far as it is used (model.md 10.1).
struct ImageEncoderConfig {
  std::int64_t dim = 0;         ///< width of the residual stream and of the features
  std::int64_t ffn_dim = 0;     ///< width inside the feed-forward
  std::int64_t image_size = 0;  ///< pixels of a side
  std::int64_t patch_size = 0;  ///< likewise
  std::int64_t num_heads = 16;  ///< a constant of the official code; no file holds it
  std::int64_t num_layers = 0;  ///< blocks that are computed: all of the file but the last
  /// Rows of the features: the class token and the patches.
  std::int64_t tokens() const { return 1 + (image_size / patch_size) * (image_size / patch_size); }
  bool operator==(const ImageEncoderConfig&) const = default;
};

/// One diffusion transformer of a checkpoint.
struct ExpertFolder {
  Expert expert = Expert::high_noise;
  std::filesystem::path path;  ///< folder with config.json and safetensors, or a file of weights

  /// For messages: the folder's name, or "transformer" if it is the checkpoint's root.
  std::string name() const { return expert == Expert::single ? "transformer" : path.filename().string(); }
};

/// The parts of a checkpoint. Each is a file of weights, or a folder with one or with shards
/// (Checkpoint::open_part()).
struct CheckpointFolder {
  std::filesystem::path root;                ///< for messages; the first expert's folder if parts lie apart
  std::vector<ExpertFolder> experts;         ///< the expert for the noisiest steps comes first
  std::filesystem::path text_encoder;        ///< models_t5_umt5-xxl-enc-bf16.pth
  std::filesystem::path vae;                 ///< Wan2.1_VAE.pth
  std::filesystem::path tokenizer;           ///< google/umt5-xxl
  std::filesystem::path image_encoder = {};  ///< models_clip_...; empty: the kind has none
  Task task;                                 ///< one of model::model_kinds()
  bool lies_apart = false;                   ///< there is no folder of the whole checkpoint
};

/// Finds the parts of a checkpoint and its task: in the official layout or in that of a Diffusers repository
/// (model_index.json, transformer/, ...), by names and config.json. `given` may also be a folder of the hub's
/// cache with one snapshot; it may be empty if `parts` names all that the model needs. `parts` take the place
/// of those in the folder. It opens no weights, except experts that are lone files, and of those only the
/// headers. `wanted_task`, if it is not empty, decides between tasks that differ in sizes alone, where the
/// sizes are of no official model. Throws UsageError: the folder does not exist; another folder is meant (the
/// message names it); parts are missing (the message lists all, with the expected layout); a lone file is
/// given that may be several models; experts are swapped, by their names; the checkpoint belongs to a task
/// that is not supported (S2V-14B, Animate-14B, VACE; the message names it).
CheckpointFolder inspect_checkpoint(const std::filesystem::path& given, const GivenParts& parts,
                                    std::string_view wanted_task = {});
CheckpointFolder inspect_checkpoint(const std::filesystem::path& given, std::string_view wanted_task = {});

/// Reads sizes from `place`/config.json, the official one or that of Diffusers, and compares them with the
/// tensors' shapes. The number of heads is only in the file, the text width only in the shapes of the
/// official form; all other sizes are in both. `place` may also be a file of weights, which has no
/// config.json: the sizes are then those of the shapes, with the heads of the released model of this width.
/// Throws UsageError: a value is missing, has the wrong type, is out of range or differs from the tensors; or
/// the model is not supported (audio, VACE, animation; the message names it); or a lone file has a width that
/// no released model has.
TransformerConfig read_transformer_config(const std::filesystem::path& place, const Checkpoint& weights);

/// Reads sizes from a config.json alone. The file must give all of them, except the text width: `text_dim` is
/// used if the file lacks it, as the official one does. Throws UsageError as read_transformer_config() does.
TransformerConfig read_transformer_config_file(const std::filesystem::path& path, std::int64_t text_dim);

/// Throws UsageError naming the first size in which two experts differ. `name`, `other_name`: their folders.
void expect_same_config(const TransformerConfig& config, const std::string& name,
                        const TransformerConfig& other, const std::string& other_name);

/// Sizes from the tensors' shapes. Throws UsageError if they do not belong to a umT5 encoder.
TextEncoderConfig read_text_encoder_config(const Checkpoint& weights);

/// Sizes from the tensors' shapes. Throws UsageError if they do not belong to CLIP's vision part.
ImageEncoderConfig read_image_encoder_config(const Checkpoint& weights);

/// The transformer's parameters by unit (model.md 1.3): "stem", "blocks.0" ..., "head". Offsets are in
/// elements, without gaps. In a block, the q, k, v weights of the self-attention are adjacent, as one [3*dim,
/// dim] matrix, and so are their biases, and k and v of the cross-attention, and k and v of its image branch.
std::vector<UnitLayout> transformer_units(const TransformerConfig& config);

/// The text encoder's parameters by unit (model.md 1.4): "blocks.0" ..., "final". No unit contains
/// token_embedding.weight.
std::vector<UnitLayout> text_encoder_units(const TextEncoderConfig& config);

/// The image encoder's parameters by unit (model.md 10.1): "stem", "blocks.0" ... Parameters of other parts
/// of the file belong to no unit.
std::vector<UnitLayout> image_encoder_units(const ImageEncoderConfig& config);

/// Every tensor of the file that is used, in the order of the units.
std::vector<ExpectedTensor> transformer_tensors(const TransformerConfig& config);
std::vector<ExpectedTensor> text_encoder_tensors(const TextEncoderConfig& config);
std::vector<ExpectedTensor> image_encoder_tensors(const ImageEncoderConfig& config);

}  // namespace wan::checkpoint
