#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "checkpoint/weight_source.h"
#include "engine/model_parts.h"
#include "lora/lora_set.h"
#include "parallel/parameter_reader.h"

namespace wan::engine {

/// One expert with each of the sets of LoRAs that requests may ask for.
class ExpertSets {
 public:
  using Sets = std::shared_ptr<const std::vector<lora::LoraSet>>;
  /// `files` must outlive this, and every reader.
  ExpertSets(Expert expert, const ExpertFiles& files, Sets sets)
      : expert_(expert), files_(files), sets_(std::move(sets)) {}

  /// The expert with a set: the sum of the checkpoint's weights and the set's, whatever was there before.
  struct Weights {
    parallel::ParameterReader read;
    std::vector<bool> changed = {};  ///< by unit: whether the set changes any of its tensors
  };
  /// Opens the files of the set. Throws UsageError.
  Weights with(int set) const;
  /// Whether two sets give this expert the same weights.
  bool are_equal(int a, int b) const;
  /// Whether all sets do.
  bool are_all_equal() const;

 private:
  lora::LoraSet of_expert(int set) const;

  Expert expert_;
  const ExpertFiles& files_;
  Sets sets_;
};

}  // namespace wan::engine
