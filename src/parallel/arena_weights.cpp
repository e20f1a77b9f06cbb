#include "parallel/arena_weights.h"

#include <utility>

#include "core/check.h"

namespace wan::parallel {

ArenaWeights::ArenaWeights(std::unique_ptr<checkpoint::WeightSource> weights,
                           std::shared_ptr<WeightShards> shards, PartClock& clock)
    : weights_(std::move(weights)), shards_(std::move(shards)), clock_(clock) {}

void ArenaWeights::begin_forward(std::shared_ptr<WeightShards> next) {
  WAN_CHECK(next != shards_, "a model cannot take its own turn");
  next_ = std::move(next);
  const auto scope = clock_.measure(Part::host_copy);
  shards_->bring_in();
}

void ArenaWeights::begin(int unit) {
  if (shards_->share().parts > 1) fetch(unit);  // begin() sends this rank's slice to the others
  weights_->begin(unit);
}

std::span<const at::Tensor> ArenaWeights::weights(int unit) {
  fetch(unit);
  return weights_->weights(unit);
}

void ArenaWeights::end(int unit) {
  weights_->end(unit);
  if (!next_) return;
  const auto scope = clock_.measure(Part::host_copy);
  next_->bring(unit);
}

void ArenaWeights::settle() {
  weights_->settle();
  next_.reset();
}

void ArenaWeights::fetch(int unit) {
  if (!shards_->is_coming(unit)) return;
  const auto scope = clock_.measure(Part::host_copy);
  shards_->await(unit);
}

}  // namespace wan::parallel
