#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lora/lora_file.h"
#include "lora/lora_set.h"
#include "lora/low_rank.h"
#include "lora/recent_factors.h"

namespace wan::lora {

/// Adds the LoRAs of a set to the weights of one expert while they are read:
///
///   W' = fp32( W + sum over the LoRAs of strength x scale x (B A) + strength x difference )
///
/// with each B A in fp32, the sums in fp64, and one rounding to fp32 (model.md 1.9). The bits of an element
/// depend on nothing but its place in its tensor: not on the part of the tensor that a rank reads. Several
/// threads may call it.
class LoraMerge {
 public:
  /// One LoRA's share in one tensor.
  struct Term {
    const LoraFile* file = nullptr;
    LoraChange change;
    double strength = 1;
  };

  /// Opens the files of the set. Throws UsageError, as LoraFile does.
  LoraMerge(const LoraSet& loras, Expert expert, const checkpoint::TransformerConfig& config);
  LoraMerge(const LoraMerge&) = delete;
  LoraMerge& operator=(const LoraMerge&) = delete;
  ~LoraMerge();

  /// Whether a tensor of the model is changed.
  bool changes(std::string_view tensor) const { return terms_.contains(tensor); }

  /// Adds the changes to elements [first, first + values.size()) of a tensor, counted row-major. `shape`: the
  /// whole tensor's. Throws UsageError if a value of a LoRA is not finite.
  void add(const std::string& tensor, std::span<const std::int64_t> shape, std::int64_t first,
           std::span<float> values) const;

  /// The shares in a tensor, in the order of the set, for those who compute the sum elsewhere; none if the
  /// tensor is not changed.
  std::span<const Term> terms(std::string_view tensor) const;

 private:
  using Factors = RecentFactors<std::shared_ptr<const PackedDown>>;
  struct Rows;

  std::vector<std::unique_ptr<LoraFile>> files_;
  std::map<std::string, std::vector<Term>, std::less<>> terms_;
  std::unique_ptr<Factors> downs_;  ///< packed
};

}  // namespace wan::lora
