#pragma once

#include <string>

#include "batch/observer.h"
#include "batch/stop_clock.h"
#include "batch/team_letters.h"
#include "core/log.h"

namespace wan::batch {

/// Decides whether a group's run has to stop: because it was told to, because the time limit is near, or
/// because the storage refuses to be written. For the group's leader, from the main thread.
class StopControl {
 public:
  /// All must outlive the control.
  StopControl(StopClock clock, TeamLetters& teams, const ItemObserver& observer, const Log& log)
      : clock_(std::move(clock)), teams_(teams), observer_(observer), log_(log) {}

  /// The times that the decisions are based on.
  StopClock& clock() { return clock_; }

  /// Whether this run was told to stop, here or by a letter of another leader. Tells the other leaders.
  bool is_told();
  /// Whether there is no time, or no reason, to begin another item.
  bool stops_before_item();
  /// Whether the item in flight has to be saved and left after `steps_done` steps.
  bool stops_at_step(int steps_done, int step_count);

  /// The engine has stopped an item. Unless this leader's own reasons explain it, another rank of the group
  /// was told to stop.
  void group_has_stopped();

  void note_storage_problem(const std::string& problem) { storage_problem_ = problem; }
  /// Why nothing can be written any more, for which the run has to end; empty if all is well.
  const std::string& storage_problem();

 private:
  StopClock clock_;
  TeamLetters& teams_;
  const ItemObserver& observer_;
  const Log& log_;
  std::string storage_problem_;
};

}  // namespace wan::batch
