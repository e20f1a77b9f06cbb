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

/// How the first image reaches the transformer.
enum class Conditioning {
  none,
  image_channels,  ///< a mask and the encoded clip of the image are channels beside the latent's
                   ///< (model.md 7.2)
};

/// One diffusion transformer of a checkpoint.
struct ExpertKind {
  Expert expert = Expert::high_noise;
  std::string_view folder;  ///< in the checkpoint
};

/// Of the Wan 2.1 autoencoder and the transformers that work on its latents.
inline constexpr VideoGeometry wan21_geometry{
    .latent_channels = 16, .frames_per_latent = 4, .pixels_per_latent = 8, .latents_per_token = 2};

/// One kind of checkpoint: everything that is known of it before a file is opened (model.md 1.1, 7.5).
struct ModelKind {
  std::string_view task;  ///< official name, "i2v-A14B"
  TaskKind kind = TaskKind::i2v;
  std::string_view model_type;      ///< in the transformers' config.json
  std::vector<ExpertKind> experts;  ///< the one for the noisiest steps first
  std::string_view text_encoder_file;
  std::string_view vae_file;
  std::string_view tokenizer_folder;
  VideoGeometry geometry;
  Conditioning conditioning = Conditioning::none;
  std::int64_t condition_channels = 0;  ///< beside the latent's channels, of the transformer's input
  TaskDefaults defaults;

  std::int64_t input_channels() const { return geometry.latent_channels + condition_channels; }
  Task as_task() const { return {.kind = kind, .name = std::string(task), .defaults = defaults}; }
};

/// Every kind that this program makes videos with. The first is the default of wan_bench.
std::span<const ModelKind> model_kinds();

/// The kind of that official name. Throws UsageError naming the known ones.
const ModelKind& model_kind(std::string_view task);

/// The kind whose transformers have that type in config.json; null if there is none.
const ModelKind* find_model_type(std::string_view model_type);

/// "i2v-A14B and t2v-A14B", for messages.
std::string known_tasks();

}  // namespace wan::model
