#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "batch/item.h"
#include "batch/item_deaths.h"
#include "batch/observer.h"
#include "batch/stop_clock.h"
#include "batch/team_board.h"
#include "core/clock.h"
#include "store/claims.h"
#include "store/item_states.h"
#include "wan/engine.h"

namespace wan::batch {

/// An item in the hands of a group's leader.
struct ItemInHand {
  const manifest::ManifestRow& row;
  store::Claim claim;
  store::Parameters parameters;  ///< of a bad row only the id is set
  store::Origin origin;
  std::vector<Death> deaths;                        ///< of the program while it made this item
  std::optional<store::StoredState> before;         ///< what earlier runs did of it, to be gone on from
  std::optional<store::MadeAgain> made_again = {};  ///< there is a result that does not count
  bool is_earlier_answer = false;                   ///< its parameters are those wanted all the same

  // The work of this run on it, in parts: teams of groups may join.
  std::map<std::string, double> phase_s = {};  ///< of all parts
  double rank_seconds = 0;                     ///< of the parts that have ended
  double part_energy_j = 0;                    ///< of all parts; NaN if unknown
  Stopwatch watch = {};                        ///< since this run began with it
  Stopwatch part_watch = {};                   ///< since the current part began
  int width = 1;                               ///< groups that work on the current part
  bool may_be_joined = true;                   ///< by other groups
  bool is_leaner = false;                      ///< tried again with a plan that needs less memory

  double seconds() const { return (before ? before->seconds : 0) + watch.elapsed_s(); }
  double gpu_seconds(int ranks) const {
    return (before ? before->gpu_seconds : 0) + rank_seconds + part_watch.elapsed_s() * ranks;
  }
  double energy_j() const { return (before ? before->energy_j : 0) + part_energy_j; }
  /// Steps at which this and earlier runs went on from a saved state.
  std::vector<int> resumed_at() const;
};

/// What a leader has to do with other groups and the folder.
struct LeaderTools {
  store::ClaimBoard claims;
  StopClock clock;
  TeamBoard& teams;
  const ItemObserver& observer;
  const Log* log;
  std::string storage_problem = {};  ///< why nothing can be written any more; empty if all is well

  /// Whether the run has to end because nothing can be written any more.
  bool has_storage_problem();
};

/// Steers the engine on the leader of a team: stops in time, saves the item in flight, tells how far it is,
/// and hands the item over to a wider team once its neighbours are idle.
class ItemControl final : public RunControl {
 public:
  /// Everything must outlive the control. `width`: groups of the team; `ranks`: its ranks.
  ItemControl(const ItemInHand& item, int width, int ranks, const Engine& engine, const RunContext& context,
              LeaderTools& tools);

  StepAction next_action(int steps_done, int step_count) override;
  void on_state(int steps_done) override;
  void on_state_problem(const std::string& message) override;
  void on_storage_problem(const std::string& message) override;

  /// Steps after which a state was last published; 0 if none was.
  int steps_saved() const { return steps_saved_; }
  /// The width of the team to hand over to, once next_action() has said so.
  int next_width() const { return next_width_; }

 private:
  bool has_to_stop(int steps_done, int step_count);
  bool is_worth_joining(int steps_left);
  void note_time(int steps_done);
  void show_progress(int steps_done, int step_count) const;
  bool is_time_to_save(int steps_done, int step_count) const;

  const ItemInHand& item_;
  int width_;
  int ranks_;
  const Engine& engine_;
  const RunContext& context_;
  LeaderTools& tools_;
  store::ItemStates states_;
  Stopwatch since_action_;
  Stopwatch since_save_;
  std::optional<int> last_steps_done_;
  int steps_saved_ = 0;
  double step_s_ = 0;  ///< the last step's
  int next_width_ = 1;
};

/// Steers the engine on the other ranks: they can only be told to stop.
class FollowerControl final : public RunControl {
 public:
  explicit FollowerControl(const RunContext& context) : context_(context) {}
  StepAction next_action(int /*steps_done*/, int /*step_count*/) override;
  void on_state(int /*steps_done*/) override {}
  void on_state_problem(const std::string& /*message*/) override {}

 private:
  const RunContext& context_;
};

}  // namespace wan::batch
