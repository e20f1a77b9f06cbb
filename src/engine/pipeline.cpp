#include <algorithm>
#include <set>

#include "core/check.h"
#include "engine/stage.h"

namespace wan::engine {

Pipeline::Pipeline(Stages stages, std::optional<ClipLoop> loop)
    : stages_(std::move(stages)), loop_(std::move(loop)) {
  check();
}

void Pipeline::check() const {
  WAN_CHECK(!loop_ || (loop_->first < loop_->end && loop_->end <= stages_.size() && loop_->clips),
            "a loop over stages that are not there");
  std::set<std::string, std::less<>> made;
  std::set<std::string, std::less<>> all_made;
  for (const auto& stage : stages_)
    for (const std::string_view name : stage->makes()) all_made.emplace(name);
  if (loop_) {
    for (const std::string& name : loop_->carried) {
      WAN_CHECK(all_made.contains(name), "no stage makes '{}', which the clips carry", name);
      made.insert(name);  // undefined in the first clip
    }
  }
  for (const auto& stage : stages_) {
    for (const std::string_view name : stage->takes()) {
      WAN_CHECK(made.contains(name), "the stage '{}' takes '{}', which no stage before it makes",
                stage->phase(), name);
    }
    for (const std::string_view name : stage->makes()) made.emplace(name);
  }
}

}  // namespace wan::engine
