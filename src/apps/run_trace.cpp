#include "apps/run_trace.h"

#include <fmt/format.h>

#include "launch/agreement.h"

namespace wan::apps {

comm::ClockOffset RunTrace::measure_clock() const {
  return comm::measure_clock_offset(ranks_, [this] { return clock_.elapsed_s(); });
}

double RunTrace::open(comm::Communicator& world, comm::Communicator& group,
                      const std::optional<TraceRun>& run, const PhaseEvent& load) {
  if (!run) return clock_.elapsed_s();
  is_open_ = true;
  launch::agree(world, [&] {
    if (group.rank() == 0) observer_ = std::make_unique<TraceObserver>(*run, clock_);
  });
  RankReport own = describe_rank(ranks_, run->device);
  own.clock = measure_clock();
  const double loaded_s = load.start_s + load.wall_s;
  own.add_phase("start_up", 0, load.start_s);
  own.add_phase("load", load.start_s, loaded_s);
  const double ready_s = clock_.elapsed_s();
  own.add_phase("start_up", loaded_s, ready_s);
  const std::vector<RankReport> reports = gather_reports(group, own);
  if (observer_) observer_->begin(reports);
  return ready_s;
}

void RunTrace::close(comm::Communicator& group, double finish_start_s, const std::string& exit_reason) {
  if (!is_open_) return;
  RankReport own;
  own.world_rank = ranks_.rank();
  own.clock = measure_clock();
  own.add_phase("finish", finish_start_s, clock_.elapsed_s());
  const std::vector<RankReport> reports = gather_reports(group, own);
  if (observer_) observer_->end(reports, exit_reason);
}

void RunTrace::close_after(const std::exception& error) noexcept {
  if (!observer_) return;
  try {
    observer_->end({}, fmt::format("failed: {}", error.what()));
  } catch (...) {
    observer_.reset();  // the run's own error is the one to report
  }
}

}  // namespace wan::apps
