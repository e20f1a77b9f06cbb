#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "batch/observer.h"
#include "batch/run_context.h"
#include "core/log.h"
#include "model/model_kind.h"
#include "trace/trace_writer.h"

namespace wan::apps {

/// The description of a run in its trace.
struct TraceRun {
  std::string run;  ///< its id; names the file
  std::string started;
  std::string host;
  std::string job;  ///< the scheduler's; may be empty
  int group_index = 0;
  int group_count = 1;
  int ranks = 1;                                   ///< of the group
  std::shared_ptr<Log> log = batch::silent_log();  ///< never null
  std::string layout;
  std::vector<std::string> arguments;
  std::string task;  ///< its name
  const model::ModelKind* kind = nullptr;
  std::string device;           ///< "cpu" or "cuda"
  std::string gpu_model;        ///< empty on the CPU
  std::filesystem::path index;  ///< OUT/trace.h5
};

/// Writes the engine's reports to the group's trace file, OUT/trace/<run>-gNN.h5, and links that file from
/// the index.
class TraceObserver final : public batch::ItemObserver {
 public:
  /// Creates the file and its link. Throws UsageError.
  explicit TraceObserver(const TraceRun& run);

  void on_phase(const PhaseEvent& event) override;
  void on_step(const StepEvent& event) override;
  void on_samples(std::span<const DeviceSample> samples) override;
  void on_item_start(const batch::ItemStart& start) override;
  void on_item_end(const batch::ItemOutcome& outcome) override;
  std::string storage_problem() const override { return storage_problem_; }

 private:
  /// Runs `write` on the writer. Does nothing once the trace has ended.
  template <typename Write>
  void guarded(Write&& write);

  std::shared_ptr<Log> log_;
  const model::ModelKind& kind_;
  std::string layout_;
  std::string storage_problem_;
  std::unique_ptr<trace::TraceWriter> writer_;
  std::vector<StepEvent> step_;  ///< the ranks' rows of the step that is being reported
};

}  // namespace wan::apps
