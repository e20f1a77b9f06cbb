#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "checkpoint/model_config.h"
#include "model/model_kind.h"
#include "vae/vae_config.h"

namespace wan::engine {

/// Everything that a run has to know of a model before it reads weights: the kind of checkpoint (experts,
/// geometry, conditioning, defaults) and the sizes of its networks.
struct ModelDescription {
  const model::ModelKind* kind = nullptr;     ///< an entry of model::model_kinds()
  checkpoint::TransformerConfig transformer;  ///< of each expert
  checkpoint::TextEncoderConfig text_encoder;
  std::optional<checkpoint::ImageEncoderConfig> image_encoder = {};  ///< of a kind that has one
  vae::VaeConfig vae;

  std::int64_t vae_parameters() const;
};

/// Reads the headers of a checkpoint's files. Throws UsageError if a tensor is missing, or if parts do not
/// belong together.
ModelDescription describe_model(const checkpoint::CheckpointFolder& folder);

/// The official model of a task, by its sizes alone (model.md 1.2); or the model of a config.json, whose text
/// encoder and autoencoder are the official ones scaled to its width. `name`: an official name as
/// "i2v-A14B", or the file's path. Throws UsageError.
ModelDescription describe_named_model(const std::string& name);

}  // namespace wan::engine
