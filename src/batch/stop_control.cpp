#include "batch/stop_control.h"

namespace wan::batch {

bool StopControl::is_told() {
  teams_.read_letters();
  if (teams_.has_heard_stop()) clock_.ask();
  if (!clock_.is_asked()) return false;
  teams_.announce_stop();
  return true;
}

bool StopControl::stops_before_item() {
  if (is_told() || !storage_problem().empty()) return true;
  has_no_time_ = has_no_time_ || clock_.is_too_late_for_item();
  return has_no_time_;
}

bool StopControl::stops_at_step(int steps_done, int step_count) {
  if (is_told()) return true;
  if (!storage_problem().empty()) {
    teams_.announce_stop();
    return true;
  }
  // The other groups look at their own clocks: their steps may be shorter, or they may be nearer to the end.
  const bool is_too_late =
      steps_done < step_count ? clock_.is_too_late_for_step() : clock_.is_too_late_for_ending();
  has_no_time_ = has_no_time_ || is_too_late;
  return is_too_late;
}

bool StopControl::leaves_now() {
  const bool is_out_of_time = clock_.is_out_of_time();
  has_no_time_ = has_no_time_ || is_out_of_time;
  return is_out_of_time;
}

void StopControl::group_has_stopped() {
  const bool is_too_late = clock_.is_too_late_for_step() || clock_.is_too_late_for_ending();
  if (!is_too_late && storage_problem().empty()) clock_.ask();
}

const std::string& StopControl::storage_problem() {
  if (storage_problem_.empty()) storage_problem_ = observer_.storage_problem();
  if (storage_problem_.empty()) storage_problem_ = log_.storage_problem();
  return storage_problem_;
}

}  // namespace wan::batch
