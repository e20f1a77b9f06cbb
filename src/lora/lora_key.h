#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace wan::lora {

/// The part that a tensor of a LoRA plays for a tensor of the model (model.md 1.9).
enum class LoraRole {
  down,                   ///< A [rank, in] of the weight
  up,                     ///< B [out, rank] of the weight
  alpha,                  ///< one number: the pair counts alpha / rank times
  difference,             ///< of the weight, or of the tensor that the name is of
  bias_difference,        ///< of the bias
  modulation_difference,  ///< of the tensor MODULE.modulation
};

/// A name in a LoRA's file, taken apart.
struct LoraKey {
  LoraRole role = LoraRole::down;
  std::string module;             ///< without the ending and the prefixes
  std::string_view spelling;      ///< of the ending, for the log: "lora_down/lora_up"
  std::string_view prefix;        ///< "diffusion_model.", "lora_unet_"; empty if it has none
  bool is_mangled = false;        ///< the module's dots are underscores
  bool is_second_expert = false;  ///< it is of the low-noise expert ("transformer_2.")
};

/// The method or the network, neither of which is read, that a name of a tensor is of: "DoRA (...)". Empty if
/// it is of neither.
std::string_view foreign_kind_of_lora_key(std::string_view name);

/// Nothing if the name has no ending that a LoRA's tensor has.
std::optional<LoraKey> read_lora_key(std::string_view name);

}  // namespace wan::lora
