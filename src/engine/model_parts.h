#pragma once

#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "checkpoint/model_config.h"
#include "parallel/weight_shards.h"
#include "vae/vae.h"
#include "wan/engine.h"

namespace wan::engine {

/// One expert: its sizes, and where its parameters come from.
struct ExpertModel {
  Expert expert = Expert::high_noise;
  checkpoint::TransformerConfig config;
  parallel::ParameterReader read;
};

/// The text encoder likewise; read() also knows "token_embedding.weight" [vocabulary, dim].
struct TextEncoderModel {
  checkpoint::TextEncoderConfig config;
  parallel::ParameterReader read;
};

/// The autoencoder likewise; its tensors are small and taken whole, in fp32, on the host.
struct VaeModel {
  vae::VaeConfig config;
  vae::TensorLookup read;
};

/// One expert's files: sizes known, weights not yet read.
struct ExpertFiles {
  checkpoint::Checkpoint weights;
  checkpoint::TransformerConfig config;
};

/// Opens an expert's folder and checks that it holds exactly the tensors that its sizes call for. Throws
/// UsageError.
ExpertFiles open_expert(const std::filesystem::path& folder);

// Models out of files. The files must outlive what is returned. All throw UsageError if the tensors are not
// those of such a model.
ExpertModel expert_model(Expert expert, const ExpertFiles& files);
TextEncoderModel text_encoder_model(const checkpoint::Checkpoint& files);
VaeModel vae_model(const checkpoint::Checkpoint& files);

// Models of made-up values, drawn anew in every run: matrices with the spread that keeps the size of
// activations, norms like a trained model's. For measuring time and memory, not for pictures.
ExpertModel synthetic_expert(Expert expert, const checkpoint::TransformerConfig& config);
TextEncoderModel synthetic_text_encoder(const checkpoint::TextEncoderConfig& config);
VaeModel synthetic_vae(const vae::VaeConfig& config);

}  // namespace wan::engine
