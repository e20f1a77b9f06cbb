#include "engine/encoder_weights.h"

namespace wan::engine {

EncoderWeights::EncoderWeights(std::vector<checkpoint::UnitLayout> units, parallel::ParameterReader read,
                               const EncoderOptions& options, comm::Communicator& group,
                               const std::shared_ptr<parallel::WeightShards>& shards)
    : units_(std::move(units)),
      read_(std::move(read)),
      options_(options),
      group_(group),
      gathers_(group, comm::Operation::all_gather) {
  if (shards) {
    use(shards);
  } else if (options_.keeps_weights()) {
    load();
  }
}

void EncoderWeights::load() {
  if (source_) return;
  const int parts = options_.placement.is_sharded() ? group_.size() : 1;
  const int part = options_.placement.is_sharded() ? group_.rank() : 0;
  use(std::make_shared<parallel::WeightShards>(units_, read_, parts, part, options_.compute));
}

void EncoderWeights::use(const std::shared_ptr<parallel::WeightShards>& shards) {
  ++loads_;
  if (options_.placement.is_sharded()) {
    gather_buffers_ = std::make_shared<parallel::GatherBuffers>(shards->units(), group_, options_.compute);
    source_ = std::make_unique<parallel::ShardedWeights>(shards, group_, gather_buffers_);
  } else {
    source_ = std::make_unique<parallel::ResidentWeights>(shards);
  }
}

void EncoderWeights::reserve() {
  if (gather_buffers_) gather_buffers_->reserve();
}

void EncoderWeights::unload() {
  if (options_.keeps_weights()) return;
  source_.reset();
  gather_buffers_.reset();
}

void EncoderWeights::release() {
  unload();
  if (gather_buffers_) gather_buffers_->release();
}

checkpoint::WeightSource& EncoderWeights::begin() {
  load();
  reserve();
  gathers_ = {group_, comm::Operation::all_gather};
  return *source_;
}

std::unique_ptr<parallel::OutlineWeights> EncoderWeights::owed(bool has_begun) {
  return std::make_unique<parallel::OutlineWeights>(*source_, units_, options_.compute.type,
                                                    has_begun ? gathers_.count() : 0);
}

}  // namespace wan::engine
