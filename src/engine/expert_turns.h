#pragma once

#include <optional>
#include <vector>

#include "engine/model_parts.h"
#include "parallel/weight_shards.h"

namespace wan::engine {

/// The readers of experts that take turns in one memory, and which of them is there.
class ExpertTurns {
 public:
  /// The files behind the experts must outlive this object.
  explicit ExpertTurns(std::vector<ExpertModel> experts) : experts_(std::move(experts)) {}

  /// The expert whose weights are in memory; empty before the first turn and after a reading that failed.
  std::optional<Expert> held() const { return held_; }
  /// Brings the expert's weights into `shards`, which this rank reads alone. On a GPU nothing may be
  /// computing with them. Throws Error, c10::OutOfMemoryError.
  void read(Expert which, parallel::WeightShards& shards);
  /// How often an expert was read.
  int readings() const { return readings_; }

 private:
  std::vector<ExpertModel> experts_;
  std::optional<Expert> held_;
  int readings_ = 0;
};

}  // namespace wan::engine
