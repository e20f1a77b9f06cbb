#pragma once

#include <algorithm>
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
  /// `limit_cause`: what the clock's time limit is, time_limit or job_end.
  StopControl(StopClock clock, TeamLetters& teams, const ItemObserver& observer, const Log& log,
              StopCause limit_cause = StopCause::time_limit)
      : clock_(std::move(clock)), teams_(teams), observer_(observer), log_(log), limit_cause_(limit_cause) {}

  /// The times that the decisions are based on.
  StopClock& clock() { return clock_; }

  /// Whether this run was told to stop: here, by the stop file, or by a letter of another leader. Tells the
  /// other leaders.
  bool is_told();
  /// Whether there is no time, or no reason, to begin another item.
  bool stops_before_item();
  /// Whether the item in flight has to be saved and left after `steps_done` steps.
  bool stops_at_step(int steps_done, int step_count);

  /// Whether the videos that are being written have to be left to a later run.
  bool leaves_now();

  /// The engine has stopped an item. Unless this leader's own reasons explain it, another rank of the group
  /// was told to stop.
  void group_has_stopped();

  /// Why this group stops, as far as the questions above have shown.
  StopCause cause() const {
    return std::max(clock_.asked_by(), has_no_time_ ? limit_cause_ : StopCause::none);
  }

  void note_storage_problem(const std::string& problem) { storage_problem_ = problem; }
  /// Why nothing can be written any more, for which the run has to end; empty if all is well.
  const std::string& storage_problem();

 private:
  StopClock clock_;
  TeamLetters& teams_;
  const ItemObserver& observer_;
  const Log& log_;
  StopCause limit_cause_;
  bool has_no_time_ = false;  ///< the time limit was a reason to stop
  std::string storage_problem_;
};

}  // namespace wan::batch
