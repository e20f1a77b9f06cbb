#include "engine/group_teams.h"

#include "core/check.h"

namespace wan::engine {

void GroupTeams::allow(TeamFactory make_team, int largest_width) {
  make_team_ = std::move(make_team);
  largest_width_ = largest_width;
}

parallel::GroupCommunicators& GroupTeams::team(int width) {
  if (width == 1) return own_;
  const auto found = teams_.find(width);
  if (found != teams_.end()) return found->second;
  WAN_CHECK(make_team_ != nullptr, "no teams were allowed");
  return teams_.emplace(width, make_team_(width)).first->second;
}

}  // namespace wan::engine
