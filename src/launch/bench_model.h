#pragma once

#include <string>

#include "checkpoint/model_config.h"
#include "vae/vae_config.h"

namespace wan::launch {

/// Sizes of a model without files.
struct BenchModel {
  checkpoint::TransformerConfig transformer;
  checkpoint::TextEncoderConfig text_encoder;
  vae::VaeConfig vae;

  std::int64_t vae_parameters() const;
};

/// `name`: "i2v-A14B", "t2v-A14B" (model.md 1.2), or the path of a config.json, whose text encoder and VAE
/// are those of the full model scaled to its width. Throws UsageError.
BenchModel bench_model(const std::string& name);

}  // namespace wan::launch
