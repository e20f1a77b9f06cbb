#pragma once

#include <memory>
#include <span>

#include "checkpoint/weight_source.h"
#include "model/part_clock.h"
#include "parallel/weight_shards.h"

namespace wan::parallel {

/// Weights of a model that shares an arena. A unit is waited for when it is needed, not before. In the last
/// forward of the model's turn, each unit makes room for the next model's as soon as it has been used.
/// Time for which the host's weights are waited for counts as Part::host_copy.
class ArenaWeights final : public checkpoint::WeightSource {
 public:
  /// `weights`: of `shards`. `clock` must outlive this object.
  ArenaWeights(std::unique_ptr<checkpoint::WeightSource> weights, std::shared_ptr<WeightShards> shards,
               PartClock& clock);

  /// Call it before each forward. Units of the model that are not in the arena begin to come in. `next`: the
  /// model whose turn begins after this forward; null if this one's goes on.
  void begin_forward(std::shared_ptr<WeightShards> next);

  void begin(int unit) override;
  std::span<const at::Tensor> weights(int unit) override;
  void end(int unit) override;
  /// From here to the next begin_forward() no unit makes room for another model's.
  void settle() override;

 private:
  void fetch(int unit);

  std::unique_ptr<checkpoint::WeightSource> weights_;
  std::shared_ptr<WeightShards> shards_;
  std::shared_ptr<WeightShards> next_;
  PartClock& clock_;
};

}  // namespace wan::parallel
