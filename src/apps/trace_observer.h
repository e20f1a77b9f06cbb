#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/trace_facts.h"
#include "batch/observer.h"
#include "batch/run_context.h"
#include "core/clock.h"
#include "core/log.h"
#include "display/run_account.h"
#include "model/model_kind.h"
#include "trace/trace_writer.h"

namespace wan::apps {

/// The description of a run in its trace.
struct TraceRun {
  std::string program;  ///< "wan_batch", "wan_bench"
  std::string run;      ///< its id; names the file
  std::string started;  ///< when the run's clock began, as utc_text_us() writes it
  std::string host;
  int group_index = 0;
  int group_count = 1;
  int ranks = 1;  ///< of the group
  int world_ranks = 1;
  int world_rank = 0;                              ///< of the group's leader
  std::shared_ptr<Log> log = batch::silent_log();  ///< never null
  std::string layout;
  std::vector<std::string> arguments;
  std::string task;  ///< its name
  const model::ModelKind* kind = nullptr;
  launch::RunDevice device;
  std::filesystem::path index;            ///< OUT/trace.h5
  int fps = 16;                           ///< of the videos
  std::optional<int> warm_up_steps = {};  ///< of an item; empty: see docs/trace.md, "Warm-up"
};

/// Writes the engine's reports to the group's trace file, OUT/trace/<run>-gNN.h5, and links that file from
/// the index. docs/trace.md lists the file's tables.
class TraceObserver final : public batch::ItemObserver {
 public:
  /// Creates the file and its link. `clock`: of the run; it must outlive the observer. Throws UsageError.
  TraceObserver(const TraceRun& run, const Stopwatch& clock);

  /// The group's ranks, and what they did before they came here.
  void begin(std::span<const RankReport> reports);
  /// Adds what the ranks did since their last item.
  void add_reports(std::span<const RankReport> reports);
  /// The account of the run: its rows for the group's ranks, its figures and, in the file of group 0, its
  /// notes.
  void add_account(const display::RunAccount& account, std::span<const display::Note> notes);
  /// The orderly end. Waits until everything is written.
  void end(const std::string& exit_reason);
  /// Time and figures of the ranks that worked for this leader.
  const display::AccountLedger& ledger() const { return ledger_; }

  void on_phase(const PhaseEvent& event) override;
  void on_rank_phases(std::span<const PhaseEvent> events) override;
  void on_stretch(const StretchEvent& stretch) override;
  void on_step(const StepEvent& event) override;
  void on_samples(std::span<const DeviceSample> samples) override;
  void on_item_start(const batch::ItemStart& start) override;
  void on_writing(const std::string& id) override;
  void on_item_waits(const std::string& id) override;
  void on_item_end(const batch::ItemOutcome& outcome) override;
  void on_waiting(batch::WaitFor what) override { ledger_.wait_for(what, clock_.elapsed_s()); }
  std::string storage_problem() const override;

 private:
  /// The item under way.
  struct Current {
    trace::ItemRecord record;
    std::int32_t item = -1;     ///< row of /items; -1: none is under way
    std::int32_t stretch = -1;  ///< row of /stretches
    int team_width = 1;
    int steps_done = 0;
    bool next_is_warm_up = false;
    double last_phase_end_s = -1;  ///< on this rank; -1: none has ended
  };

  /// Runs `write` on the writer. Does nothing once the trace has ended.
  template <typename Write>
  void guarded(Write&& write);
  void warn_once();
  void begin_team_row(const StretchEvent& stretch);
  /// Ranks that have made a step under these conditions are warm.
  std::string conditions_of(const StretchEvent& stretch) const;
  void end_written_item(const Current& item, const batch::ItemOutcome& outcome);
  trace::PhaseRecord record_of(const PhaseEvent& event);
  void count_video(const batch::ItemOutcome& outcome);

  std::shared_ptr<Log> log_;
  const Stopwatch& clock_;
  const model::ModelKind& kind_;
  std::string layout_;
  int world_rank_;
  int first_rank_;  ///< of the group, in the world
  int ranks_;       ///< of the group
  int fps_;
  std::optional<int> warm_up_steps_;
  bool publishes_;  ///< items have results, which get their names after the last phase
  std::unique_ptr<trace::TraceWriter> writer_;
  display::AccountLedger ledger_;
  bool has_warned_of_end_ = false;
  bool has_warned_of_drops_ = false;
  std::vector<trace::StepRecord> step_;  ///< the ranks' rows of the step that is being reported
  std::string conditions_;               ///< of the last stretch
  Current current_;
  std::map<std::string, Current> written_;  ///< by id: items that threads write
};

}  // namespace wan::apps
