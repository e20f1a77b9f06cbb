#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/model_config.h"
#include "lora/lora_key.h"

namespace wan::lora {

/// The tensors of a transformer that a LoRA may change, by all names that LoRAs use.
class LoraTargets {
 public:
  explicit LoraTargets(const checkpoint::TransformerConfig& config);

  /// The official name of the tensor that a key is about; nothing if the model has none.
  std::optional<std::string> tensor_of(const LoraKey& key) const;
  /// The official name of the key's module, whether the model has it or not; empty if it is no name of Wan's.
  std::string module_of(const LoraKey& key) const;

  const std::vector<std::int64_t>& shape(const std::string& tensor) const { return shapes_.at(tensor); }
  /// Whether LoRAs that this model takes may have keys of this module, which it has not: the image branch of
  /// Wan 2.1 on an expert of Wan 2.2 (model.md 1.9).
  bool may_be_absent(std::string_view official_module) const;
  std::int64_t layers() const { return layers_; }

 private:
  std::map<std::string, std::vector<std::int64_t>> shapes_;  ///< of all tensors
  std::map<std::string, std::string> official_;  ///< of modules of Diffusers, and of the model's own
  std::map<std::string, std::string> mangled_;   ///< the same with underscores for dots
  std::int64_t layers_ = 0;
  bool has_image_branch_ = false;
};

}  // namespace wan::lora
