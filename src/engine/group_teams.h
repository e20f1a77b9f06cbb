#pragma once

#include <functional>
#include <map>
#include <utility>

#include "parallel/layout.h"

namespace wan::engine {

/// Makes the communicators of the team of `width` groups that this rank's group belongs to. Called by all
/// ranks of that team at once, and once for each width.
using TeamFactory = std::function<parallel::GroupCommunicators(int width)>;

/// The communicators of a group of ranks, and of the larger teams that it may be part of.
class GroupTeams {
 public:
  explicit GroupTeams(parallel::GroupCommunicators own) : own_(std::move(own)) {}

  /// Lets teams of several groups be made, up to `largest_width`.
  void allow(TeamFactory make_team, int largest_width);
  bool allows(int width) const { return width >= 2 && width <= largest_width_ && make_team_; }

  parallel::GroupCommunicators& own() { return own_; }
  const parallel::GroupCommunicators& own() const { return own_; }
  /// The group's for `width` 1, else those of the team of `width` groups. The first call for a width makes
  /// them, which is collective over the team.
  parallel::GroupCommunicators& team(int width);

 private:
  parallel::GroupCommunicators own_;
  TeamFactory make_team_;
  int largest_width_ = 1;
  std::map<int, parallel::GroupCommunicators> teams_;  ///< by width
};

}  // namespace wan::engine
