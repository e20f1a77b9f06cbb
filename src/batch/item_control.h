#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "batch/item_in_hand.h"
#include "batch/item_writers.h"
#include "batch/state_saver.h"
#include "batch/stop_control.h"
#include "batch/team_growth.h"
#include "core/clock.h"
#include "wan/engine.h"

namespace wan::batch {

/// Steers the engine on the leader of a team: stops in time, saves the item in flight, shows its progress,
/// and hands it over to a wider team once its neighbours are idle.
class ItemControl final : public RunControl {
 public:
  /// The parts of the leader that the control works with. All must outlive it.
  struct Tools {
    const store::Claims& claims;
    StopControl& stop;
    ItemWriters& writers;
    Log& log;
  };
  /// `item` must outlive the control.
  /// `draft_step`: Draft::after_step.
  ItemControl(const ItemInHand& item, Tools tools, StateSaver saver, TeamGrowth growth, int draft_step = 0)
      : item_(item), tools_(tools), saver_(saver), growth_(growth), draft_step_(draft_step) {}

  StepAction next_action(int steps_done, int step_count) override;
  void on_state(int steps_done) override;
  void on_state_problem(const std::string& message) override;
  void on_storage_problem(const std::string& message) override;
  void on_outputs(std::unique_ptr<UnwrittenOutputs> outputs) override;

  /// The outputs that on_outputs() was given; null if they are written.
  std::unique_ptr<UnwrittenOutputs> take_outputs() { return std::move(outputs_); }
  /// Why a state could last not be saved; empty if all were.
  const std::string& state_problem() const { return state_problem_; }
  /// Steps after which a state was last published; 0 if none was.
  int steps_saved() const { return saver_.steps_saved(); }
  /// The width of the team to hand over to, after next_action() has returned StepAction::hand_over.
  int next_width() const { return growth_.next_width(); }

 private:
  void note_time(int steps_done);
  void await_writer();
  void show_progress(int steps_done, int step_count) const;

  const ItemInHand& item_;
  Tools tools_;
  StateSaver saver_;
  TeamGrowth growth_;
  std::unique_ptr<UnwrittenOutputs> outputs_;
  int draft_step_;
  Stopwatch since_action_;
  std::optional<int> last_steps_done_;
  double step_s_ = 0;  ///< the last step's
  std::string state_problem_;
};

/// Steers the engine on the other ranks, which can only be told to stop.
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
