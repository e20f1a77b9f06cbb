#include "engine/expert_turns.h"

#include <algorithm>

#include "core/check.h"
#include "parallel/weight_loading.h"

namespace wan::engine {

void ExpertTurns::read(Expert which, parallel::WeightShards& shards) {
  const auto found = std::ranges::find(experts_, which, &ExpertModel::expert);
  WAN_CHECK(found != experts_.end(), "the model has no {} expert", to_string(which));
  held_.reset();
  ++readings_;
  parallel::WeightLoading({{.shards = &shards, .read = found->read}}).finish(nullptr);
  held_ = which;
}

}  // namespace wan::engine
