#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/video_geometry.h"
#include "wan/engine.h"
#include "wan/request.h"

namespace wan::model {

/// The way in which the first image reaches the transformer.
enum class Conditioning {
  none,
  image_channels,  ///< a mask and the image's encoded clip are channels beside those of the latent
                   ///< (model.md 7.2)
  first_frame,     ///< the latent's first frame is the encoded image, and its tokens see timestep 0 (model.md
                   ///< 7.8); a request may have no image
};

/// One diffusion transformer of a checkpoint.
struct ExpertKind {
  Expert expert = Expert::high_noise;
  std::string_view folder;  ///< folder in the checkpoint; empty: its root
};

/// Sizes of a kind's official transformers (model.md 1.2). A checkpoint may have others: its files say so.
struct TransformerSizes {
  std::int64_t dim = 0;
  std::int64_t ffn_dim = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_layers = 0;
};

/// Geometry of the Wan 2.1 autoencoder and of the transformers that work on its latents.
inline constexpr VideoGeometry wan21_geometry{
    .latent_channels = 16, .frames_per_latent = 4, .pixels_per_latent = 8, .latents_per_token = 2};

/// Geometry of the Wan 2.2 autoencoder and of TI2V-5B, which works on its latents.
inline constexpr VideoGeometry wan22_geometry{
    .latent_channels = 48, .frames_per_latent = 4, .pixels_per_latent = 16, .latents_per_token = 2};

/// One kind of checkpoint: everything that the program knows of it before it opens a file (model.md 1.1),
/// (model.md 7.5).
struct ModelKind {
  std::string_view task;  ///< official name, "i2v-A14B"
  TaskKind kind = TaskKind::i2v;
  std::string_view model_type;      ///< value in the transformers' config.json
  std::vector<ExpertKind> experts;  ///< the expert for the noisiest steps comes first
  TransformerSizes official;        ///< of each expert
  std::string_view text_encoder_file;
  std::string_view vae_file;
  std::string_view tokenizer_folder;
  std::string_view image_encoder_file = {};  ///< CLIP; empty: the kind has none
  VideoGeometry geometry;
  Conditioning conditioning = Conditioning::none;
  std::int64_t condition_channels = 0;  ///< channels of the transformer's input beside the latent's
  bool has_fp16 = false;                ///< whether --precision fp16 is offered
  TaskDefaults defaults;

  bool has_one_expert() const { return experts.size() == 1; }
  bool has_image_encoder() const { return !image_encoder_file.empty(); }
  std::int64_t input_channels() const { return geometry.latent_channels + condition_channels; }
  Task as_task() const { return {.kind = kind, .name = std::string(task), .defaults = defaults}; }
};

/// Every kind with which this program makes videos. The first is the default of wan_bench.
std::span<const ModelKind> model_kinds();

/// The kind with this official name. Throws UsageError with the known names.
const ModelKind& model_kind(std::string_view task);

/// A kind whose transformers have this type in config.json; null if there is none. Kinds of one type have
/// equal channels.
const ModelKind* find_model_type(std::string_view model_type);

/// The kind with one expert of this type; null if there is none. Where kinds differ in sizes alone, it is the
/// one whose official width this is, else the narrowest wider one, else the widest.
const ModelKind* find_single(std::string_view model_type, std::int64_t dim);

/// Whether the files of two kinds differ in sizes alone.
bool have_same_files(const ModelKind& one, const ModelKind& other);

/// Throws UsageError naming the value where a request gives what a model with one expert does not have: a
/// boundary, or two guidance scales. `boundary_name` and `scale_name`: of the values, for the message.
void require_values_fit(const ModelKind& kind, std::optional<double> boundary,
                        const std::optional<GuideScale>& guide_scale, std::string_view boundary_name,
                        std::string_view scale_name);

/// Throws UsageError naming the value, `name`, unless both sides of a size are multiples of a token's.
void require_size_fits(const ModelKind& kind, PixelSize size, std::string_view name);

/// Throws UsageError naming the option, `name`, and the kinds for which fp16 is offered, unless this is one.
void require_fp16_offered(const ModelKind& kind, std::string_view name);

/// The official names, "i2v-A14B, ... and t2v-14B", for messages.
std::string known_tasks();

}  // namespace wan::model
