#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "batch/item_deaths.h"
#include "batch/row_claimer.h"
#include "core/clock.h"
#include "store/saved_states.h"
#include "store/sidecar.h"

namespace wan::batch {

/// The seconds and the energy that this run has spent on an item. The work comes in parts: each team that
/// makes some of the steps is one.
class ItemCost {
 public:
  void begin_part(int ranks);
  /// Adds the time since begin_part() for each of its ranks.
  void end_part();
  /// Forgets everything spent so far, apart from the seconds of the phases: a saved state has it now.
  void begin_again();

  /// Between begin_waiting() and end_waiting(), the item waits for the second expert and costs nothing.
  void begin_waiting() { wait_watch_.emplace(); }
  void end_waiting();

  double seconds() const {
    return watch_.elapsed_s() - waited_s_ - (wait_watch_ ? wait_watch_->elapsed_s() : 0);
  }
  double part_seconds() const { return part_watch_.elapsed_s(); }
  /// Seconds times ranks, the current part included.
  double rank_seconds() const { return rank_seconds_ + part_watch_.elapsed_s() * part_ranks_; }

  std::map<std::string, double> phase_s = {};  ///< of all parts
  double energy_j = 0;                         ///< of all parts; NaN if unknown

 private:
  double rank_seconds_ = 0;  ///< of the parts that have ended
  double waited_s_ = 0;
  Stopwatch watch_;
  std::optional<Stopwatch> wait_watch_;  ///< while the item waits
  Stopwatch part_watch_;
  int part_ranks_ = 0;  ///< 0 between parts
};

/// An item in the hands of a group's leader.
struct ItemInHand {
  const manifest::ManifestRow& row;
  std::int64_t row_index = 0;  ///< among the run's rows
  store::Claim claim;
  store::Parameters parameters;  ///< only the id is set if the row is faulty
  store::Origin origin;
  std::vector<Death> deaths;                        ///< of the program while it made this item
  std::optional<store::SavedState> before;          ///< the saved state of earlier runs to go on from
  std::optional<store::MadeAgain> made_again = {};  ///< set if there is a result that does not count
  bool is_earlier_answer = false;                   ///< that result has the parameters that are wanted now
  bool first_expert_only = false;                   ///< OutputPaths::first_expert_only
  int steps_done = 0;                               ///< of this run and those before it, while the item waits
  ItemCost cost = {};

  // Totals of this run and of the runs before the saved state.
  double seconds() const { return (before ? before->seconds : 0) + cost.seconds(); }
  double gpu_seconds() const { return (before ? before->gpu_seconds : 0) + cost.rank_seconds(); }
  double energy_j() const { return (before ? before->energy_j : 0) + cost.energy_j; }
  /// Steps at which this and earlier runs went on from a saved state.
  std::vector<int> resumed_at() const;
};

/// Prepares a claimed row: resolves its parameters, keeps a seed that was drawn before, and finds the saved
/// state to go on from. `ranks`: of the group.
ItemInHand take_in_hand(ClaimedRow claimed, const RunContext& context, const Task& task, int ranks);

/// Replaces `item.before` by the last state that this run has saved. Does nothing if it has saved none.
void go_back_to_saved(ItemInHand& item, const RunContext& context);

}  // namespace wan::batch
