#include "engine/expert_shards.h"

#include "core/check.h"
#include "parallel/weight_loading.h"

namespace wan::engine {

std::vector<ExpertShards> take_memory(const std::vector<ExpertModel>& experts,
                                      const parallel::NetworkPlacement& placement,
                                      const kernels::Compute& compute, const parallel::WeightShare& share) {
  WAN_CHECK(!experts.empty(), "a model without an expert");
  const std::vector<checkpoint::UnitLayout> units = checkpoint::transformer_units(experts.front().config);
  std::shared_ptr<parallel::WeightArena> arena;
  if (placement.waits_on_host())
    arena = std::make_shared<parallel::WeightArena>(units, share.parts, compute, share.reader_count());
  std::vector<ExpertShards> taken;
  taken.reserve(experts.size());
  for (const ExpertModel& model : experts) {
    taken.push_back({.expert = model.expert,
                     .config = model.config,
                     .shards = std::make_shared<parallel::WeightShards>(units, share, compute, arena)});
  }
  return taken;
}

std::vector<ExpertShards> read_experts(const std::vector<ExpertModel>& experts,
                                       const parallel::NetworkPlacement& placement,
                                       const kernels::Compute& compute, int rank, int group_size) {
  std::vector<ExpertShards> taken = take_memory(
      experts, placement, compute, parallel::share_alone(rank, group_size, placement.is_sharded()));
  std::vector<parallel::WeightLoading::Model> models;
  models.reserve(experts.size());
  for (std::size_t i = 0; i < experts.size(); ++i)
    models.push_back({.shards = taken[i].shards.get(), .read = experts[i].read});
  parallel::WeightLoading(std::move(models)).finish(nullptr);
  return taken;
}

}  // namespace wan::engine
