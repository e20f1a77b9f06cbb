#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lora/lora_file.h"
#include "model/lora_choice.h"
#include "model/model_kind.h"

namespace wan::lora {

/// One file that a run adds to the weights.
struct Lora {
  std::filesystem::path file;
  double strength = 1;
  LoraExperts experts = LoraExperts::both;  ///< never automatic
  std::string sha256 = {};                  ///< of the file; empty: not computed yet
  bool operator==(const Lora&) const = default;
};
/// The LoRAs of a set of weights, in the order in which they are added.
using LoraSet = std::vector<Lora>;

/// The files that choices mean for a model: of a folder with high_noise_model.safetensors and
/// low_noise_model.safetensors each file for its expert; a file whose name says the noise for that expert
/// alone. `notes` gets a line for each choice that a name has decided. Throws UsageError.
LoraSet resolve_loras(std::span<const LoraChoice> choices, const model::ModelKind& kind,
                      std::vector<std::string>& notes);

/// Fills in the checksums of all sets. Reads each file once, a few at a time. Throws UsageError.
void take_checksums(std::span<LoraSet> sets);

/// A text that differs between sets that change weights differently: ", LoRA SHA256 x STRENGTH on EXPERTS"
/// for each.
std::string identity_text(const LoraSet& loras);

/// Opens every file of a set and checks it against the model. With `reads_values` reads all of it. Returns a
/// line for each, for the log: "LoRA x.safetensors: ...", and the notes on it. Throws UsageError.
struct LoraSummary {
  std::string line;
  std::vector<std::string> notes;
};
std::vector<LoraSummary> inspect_loras(const LoraSet& loras, const checkpoint::TransformerConfig& config,
                                       std::span<const Expert> experts, bool reads_values);

}  // namespace wan::lora
