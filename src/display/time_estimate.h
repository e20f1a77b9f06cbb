#pragma once

#include <deque>
#include <optional>

#include "batch/observer.h"

namespace wan::display {

/// Estimates how long an item and the rest of a run will take. Assumes that the groups of the run share the
/// remaining items evenly. Items are weighed by their work; the seconds per unit of work are measured in this
/// start of the run. Threads write items beside the next ones, so that only the last item's writing counts.
class TimeEstimate {
 public:
  /// `now_s` arguments of all functions are of one clock in seconds.
  explicit TimeEstimate(int group_count);

  void begin_item(const batch::ItemStart& start, double now_s);
  /// The leader's event of a step.
  void end_step(const StepEvent& event, double now_s);
  /// The group has done its part of the item: it is done, or a thread writes it from now on.
  void finish_item(double now_s);
  /// A thread has written an item in so many seconds.
  void finish_writing(double seconds) { writing_s_ = seconds; }

  int steps_done() const { return item_.steps_done; }
  int step_count() const { return item_.step_count; }
  /// Mean seconds of the item's latest steps; 0 before the first one of this start.
  double step_s() const;
  /// Seconds until the run ends; nothing while that is unknown.
  std::optional<double> time_left_s(double now_s) const;

 private:
  /// Measured seconds, and the work that they went into.
  struct Rate {
    double seconds = 0;
    double work = 0;
    bool is_known() const { return work > 0 && seconds > 0; }
    double s_per_unit() const { return seconds / work; }
  };
  /// The item in flight. Its times are of this start.
  struct Item {
    store::ItemWork work;
    store::WorkLeft left;  ///< of the items after it
    double start_s = 0;
    int steps_done = 0;  ///< includes the steps of earlier starts
    int last_step = 0;   ///< of a draft; 0: all steps are made
    int step_count = 0;  ///< to be made
    double steps_s = 0;
    double before_steps_s = 0;  ///< from the item's start to its first step
    std::deque<double> latest_step_s = {};
  };

  void set_step_count(int of_whole_item);
  double rest_rate() const;
  double last_writing_s(double now_s) const;
  std::optional<double> rest_of_item_s(double now_s) const;

  int group_count_;
  Item item_;
  Rate step_rate_;                    ///< of all items that this group worked on
  Rate rest_rate_;                    ///< of the items that it finished, with the time between them
  std::optional<double> last_end_s_;  ///< when the group finished its part of an item; empty: it is at one
  std::optional<double> writing_s_;   ///< the last item's, by a thread; empty: none is known
};

}  // namespace wan::display
