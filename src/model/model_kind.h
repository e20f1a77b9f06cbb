#pragma once

#include <cstdint>
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
};

/// One diffusion transformer of a checkpoint.
struct ExpertKind {
  Expert expert = Expert::high_noise;
  std::string_view folder;  ///< folder in the checkpoint
};

/// Geometry of the Wan 2.1 autoencoder and of the transformers that work on its latents.
inline constexpr VideoGeometry wan21_geometry{
    .latent_channels = 16, .frames_per_latent = 4, .pixels_per_latent = 8, .latents_per_token = 2};

/// One kind of checkpoint: everything that the program knows of it before it opens a file (model.md 1.1),
/// (model.md 7.5).
struct ModelKind {
  std::string_view task;  ///< official name, "i2v-A14B"
  TaskKind kind = TaskKind::i2v;
  std::string_view model_type;      ///< value in the transformers' config.json
  std::vector<ExpertKind> experts;  ///< the expert for the noisiest steps comes first
  std::string_view text_encoder_file;
  std::string_view vae_file;
  std::string_view tokenizer_folder;
  VideoGeometry geometry;
  Conditioning conditioning = Conditioning::none;
  std::int64_t condition_channels = 0;  ///< channels of the transformer's input beside the latent's
  TaskDefaults defaults;

  std::int64_t input_channels() const { return geometry.latent_channels + condition_channels; }
  Task as_task() const { return {.kind = kind, .name = std::string(task), .defaults = defaults}; }
};

/// Every kind with which this program makes videos. The first is the default of wan_bench.
std::span<const ModelKind> model_kinds();

/// The kind with this official name. Throws UsageError with the known names.
const ModelKind& model_kind(std::string_view task);

/// The kind whose transformers have this type in config.json; null if there is none.
const ModelKind* find_model_type(std::string_view model_type);

/// "i2v-A14B and t2v-A14B", for messages.
std::string known_tasks();

}  // namespace wan::model
