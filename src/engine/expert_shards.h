#pragma once

#include <memory>
#include <vector>

#include "engine/model_parts.h"
#include "kernels/compute.h"
#include "parallel/weight_placement.h"
#include "parallel/weight_shards.h"

namespace wan::engine {

/// One expert and this rank's part of its weights.
struct ExpertShards {
  Expert expert;
  checkpoint::TransformerConfig config;
  std::shared_ptr<parallel::WeightShards> shards;
};

/// Takes the memory for the experts' weights, which are not read yet. The experts have the same sizes. Throws
/// c10::OutOfMemoryError, Error.
std::vector<ExpertShards> take_memory(const std::vector<ExpertModel>& experts,
                                      const parallel::NetworkPlacement& placement,
                                      const kernels::Compute& compute, const parallel::WeightShare& share);

/// The experts with their weights, which this rank reads alone. `rank` and `group_size`: its place in its
/// group.
std::vector<ExpertShards> read_experts(const std::vector<ExpertModel>& experts,
                                       const parallel::NetworkPlacement& placement,
                                       const kernels::Compute& compute, int rank, int group_size);

}  // namespace wan::engine
