#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/model_config.h"
#include "lora/lora_targets.h"
#include "model/lora_choice.h"

namespace wan::lora {

/// The sum that a LoRA adds to one tensor of the model: scale x (up down) + difference (model.md 1.9). The
/// entries are the file's.
struct LoraChange {
  const checkpoint::TensorEntry* down = nullptr;  ///< [rank, in]; null: no pair
  const checkpoint::TensorEntry* up = nullptr;    ///< [out, rank]
  double scale = 1;                               ///< alpha / rank
  const checkpoint::TensorEntry* difference = nullptr;
};
/// By the official name of the tensor.
using LoraChanges = std::map<std::string, LoraChange, std::less<>>;

/// A LoRA for one model: a file of any dialect. Opening reads names, shapes and the alphas. Several threads
/// may read its tensors.
class LoraFile {
 public:
  /// `file`: a .safetensors file, or else one of torch.save(), whose dictionary may be below "state_dict".
  /// Throws UsageError, naming the tensor: another method or network; a pair without its half or with another
  /// shape than its target; a name that the model has not; a number that is not finite; nothing to change.
  LoraFile(const std::filesystem::path& file, const checkpoint::TransformerConfig& config);
  LoraFile(const LoraFile&) = delete;
  LoraFile& operator=(const LoraFile&) = delete;
  LoraFile(LoraFile&&) = delete;
  LoraFile& operator=(LoraFile&&) = delete;
  ~LoraFile() = default;

  const std::filesystem::path& path() const { return tensors_.source(); }
  /// The changes of an expert, of a LoRA that is given for `experts`. Names of tensors that say which expert
  /// they are of go before; there may be none.
  const LoraChanges& changes(Expert expert, LoraExperts experts) const;
  /// Whether names of tensors say that some of them are of the low-noise expert.
  bool names_second_expert() const { return !second_.empty(); }

  /// How the file writes names, for the log: "lora_down/lora_up, diffusion_model.".
  const std::string& dialect() const { return dialect_; }
  std::int64_t skipped_keys() const { return skipped_; }            ///< of parts that this model has not
  const std::vector<std::string>& notes() const { return notes_; }  ///< on what is left out

  /// The values of a tensor of the file. Throws UsageError if one of them is not finite or cannot be read.
  void read(const checkpoint::TensorEntry& entry, std::int64_t first, std::span<float> out) const;
  /// The same in the type of the file, little-endian, for a tensor that is stored plainly.
  void read_stored(const checkpoint::TensorEntry& entry, std::int64_t first, std::span<std::byte> out) const;
  /// Reads all tensors that are used. Throws UsageError if a value is not finite.
  void check_values() const;

 private:
  struct Parts;
  using PartsByTensor = std::map<std::string, Parts>;
  void add_key(const checkpoint::TensorEntry& entry, const LoraTargets& targets, PartsByTensor& first,
               PartsByTensor& second);
  void skip(const checkpoint::TensorEntry& entry);
  LoraChanges finish(const PartsByTensor& parts, const LoraTargets& targets);
  std::optional<LoraChange> change_of(const std::string& tensor, const Parts& parts,
                                      std::span<const std::int64_t> shape);
  double scale_of(const Parts& parts) const;
  double read_alpha(const checkpoint::TensorEntry& entry) const;
  [[noreturn]] void fail_value(const checkpoint::TensorEntry& entry, float value) const;

  checkpoint::Checkpoint tensors_;
  LoraChanges first_;   ///< of every expert, or of the first one
  LoraChanges second_;  ///< of the low-noise expert, if names say so
  std::string dialect_;
  std::int64_t skipped_ = 0;
  std::string first_skipped_;
  std::vector<std::string> notes_;
};

}  // namespace wan::lora
