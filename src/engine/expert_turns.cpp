#include "engine/expert_turns.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "parallel/weight_loading.h"

namespace wan::engine {

bool ExpertTurns::serves(Expert which) const {
  return std::ranges::any_of(entries_, [&](const Entry& entry) { return entry.model.expert == which; });
}

const ExpertTurns::Entry& ExpertTurns::entry_of(Expert which) const {
  const auto found =
      std::ranges::find_if(entries_, [&](const Entry& entry) { return entry.model.expert == which; });
  WAN_CHECK(found != entries_.end(), "the model has no {} expert", to_string(which));
  return *found;
}

void ExpertTurns::note_loaded(int set, std::vector<bool> changed) {
  held_ = {.expert = entries_.front().model.expert, .set = set, .changed = std::move(changed)};
}

bool ExpertTurns::holds(Expert which, int set) const {
  if (!holds(which)) return false;
  const Entry& entry = entry_of(which);
  return !entry.sets || held_->set == set || entry.sets->are_equal(held_->set, set);
}

std::int64_t ExpertTurns::read(Expert which, int set, parallel::WeightShards& shards) {
  const Entry& entry = entry_of(which);
  ++readings_;
  ExpertSets::Weights weights =
      entry.sets ? entry.sets->with(set) : ExpertSets::Weights{.read = entry.model.read};
  std::vector<bool> written(shards.units().size(), true);
  if (holds(which) && entry.sets) {
    for (std::size_t unit = 0; unit < written.size(); ++unit)
      written[unit] = held_->changed[unit] || weights.changed[unit];
  }
  held_.reset();
  shards.forget();
  parallel::WeightLoading({{.shards = &shards, .read = weights.read, .units = written}}).finish(nullptr);
  held_ = {.expert = which, .set = set, .changed = std::move(weights.changed)};
  return shards.bytes(written);
}

}  // namespace wan::engine
