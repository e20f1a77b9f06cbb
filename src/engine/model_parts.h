#pragma once

#include <filesystem>
#include <memory>

#include "checkpoint/checkpoint.h"
#include "checkpoint/model_config.h"
#include "lora/lora_merge.h"
#include "parallel/parameter_reader.h"
#include "vae/vae.h"
#include "wan/engine.h"

namespace wan::engine {

/// One expert: its sizes, and where its parameters come from.
struct ExpertModel {
  Expert expert = Expert::high_noise;
  checkpoint::TransformerConfig config;
  parallel::ParameterReader read;
};

/// The text encoder: its sizes, and where its parameters come from. read() also knows
/// "token_embedding.weight" [vocabulary, dim].
struct TextEncoderModel {
  checkpoint::TextEncoderConfig config;
  parallel::ParameterReader read;
};

/// CLIP's vision part: its sizes, and where its parameters come from.
struct ImageEncoderModel {
  checkpoint::ImageEncoderConfig config;
  parallel::ParameterReader read;
};

/// The autoencoder: its sizes, and where its tensors come from. They are small and read whole, in fp32, to
/// the host.
struct VaeModel {
  vae::VaeConfig config;
  vae::TensorLookup read;
};

/// An expert's open files. Its sizes are known; its weights are not read yet.
struct ExpertFiles {
  checkpoint::Checkpoint weights;
  checkpoint::TransformerConfig config;
};

/// Opens an expert's folder or file and checks that it holds exactly the tensors that its sizes call for.
/// Throws UsageError.
ExpertFiles open_expert(const std::filesystem::path& place);

// Models of a checkpoint's files, which must outlive the returned models. All throw UsageError if the tensors
// are not those of such a model.
ExpertModel expert_model(Expert expert, const ExpertFiles& files);
TextEncoderModel text_encoder_model(const checkpoint::Checkpoint& files);
ImageEncoderModel image_encoder_model(const checkpoint::Checkpoint& files);
VaeModel vae_model(const checkpoint::Checkpoint& files);
/// Reads any parameter of these files, which must outlive the reader.
parallel::ParameterReader checkpoint_reader(const checkpoint::Checkpoint& from);
/// The same with LoRAs added, before the values are rounded to the type in which they are kept.
parallel::ParameterReader merging_reader(const checkpoint::Checkpoint& from,
                                         std::shared_ptr<const lora::LoraMerge> loras);
/// All tensors of an autoencoder as one unit.
checkpoint::UnitLayout vae_unit(const vae::VaeConfig& config);

// Models of random values, drawn anew in every run. The spread of a matrix keeps the size of the activations;
// norms are like those of a trained model. They serve to measure time and memory, and make no pictures.
ExpertModel synthetic_expert(Expert expert, const checkpoint::TransformerConfig& config);
TextEncoderModel synthetic_text_encoder(const checkpoint::TextEncoderConfig& config);
ImageEncoderModel synthetic_image_encoder(const checkpoint::ImageEncoderConfig& config);
VaeModel synthetic_vae(const vae::VaeConfig& config);

}  // namespace wan::engine
