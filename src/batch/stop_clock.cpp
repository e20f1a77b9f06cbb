#include "batch/stop_clock.h"

#include <algorithm>

namespace wan::batch {
namespace {

// The run ends this long before the limit: clocks differ, and schedulers look at theirs now and then.
constexpr double reserve_share = 0.015;
constexpr double most_reserve_s = 30;
// The time for saving, for the run's record, and for the ends of MPI and the launcher. Open MPI's mpirun
// starts up to half a second before the ranks. It waits a second for the others if one has ended with another
// code than 0.
constexpr double leaving_s = 2.5;
constexpr double leaving_share = 0.1;  // the same for limits so short that they are tests
constexpr double caution = 1.5;        // a step may take this much longer than the slowest so far
// A guess while no item of this run has ended: this many steps, or as long as the work before the steps.
constexpr double ending_in_steps = 3;

}  // namespace

void StopClock::ask(StopCause cause) { asked_by_ = std::max(asked_by_, cause); }

bool StopClock::is_asked() {
  if (options_.is_signalled && options_.is_signalled()) ask(StopCause::signal);
  if (options_.has_stop_file && options_.has_stop_file()) ask(StopCause::stop_file);
  return asked_by_ != StopCause::none;
}

void StopClock::took_step(double seconds) { step_s_ = std::max(step_s_.value_or(0), seconds); }

void StopClock::took_saving(double seconds) { saving_s_ = std::max(saving_s_, seconds); }

bool StopClock::is_too_late_for(double seconds) const {
  if (!options_.time_limit_s) return false;
  const double limit_s = *options_.time_limit_s;
  const double reserve_s = std::min(most_reserve_s, reserve_share * limit_s);
  const double deadline_s = limit_s - reserve_s - std::min(leaving_s, leaving_share * limit_s);
  return options_.elapsed_s() + caution * (seconds + closing_s_) > deadline_s;
}

bool StopClock::is_too_late_for_item() const {
  return is_too_late_for(preparation_s_.value_or(0) + step_s_.value_or(0) + saving_s_);
}

bool StopClock::is_too_late_for_step() const { return is_too_late_for(step_s_.value_or(0) + saving_s_); }

bool StopClock::is_too_late_for_ending() const {
  const double guess_s = std::max(ending_in_steps * step_s_.value_or(0), preparation_s_.value_or(0));
  return is_too_late_for(ending_s_.value_or(guess_s));
}

}  // namespace wan::batch
