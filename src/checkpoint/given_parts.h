#pragma once

#include <filesystem>

namespace wan::checkpoint {

/// Parts of a checkpoint that the user names one by one, each a file of weights or a folder with one; empty:
/// not named. They take the place of the parts in the checkpoint folder.
struct GivenParts {
  std::filesystem::path model;             ///< the only expert of a model
  std::filesystem::path high_noise_model;  ///< the experts of a model with two
  std::filesystem::path low_noise_model;
  std::filesystem::path vae;
  std::filesystem::path text_encoder;
  std::filesystem::path image_encoder;  ///< CLIP
  std::filesystem::path tokenizer;      ///< a folder with tokenizer.json, or this file

  bool has_experts() const { return !model.empty() || !high_noise_model.empty() || !low_noise_model.empty(); }
};

}  // namespace wan::checkpoint
