#include "apps/run_trace.h"

#include <fmt/format.h>

#include "apps/run_account.h"
#include "launch/agreement.h"

namespace wan::apps {

comm::ClockOffset RunTrace::measure_clock() const {
  return comm::measure_clock_offset(ranks_, [this] { return clock_.elapsed_s(); });
}

double RunTrace::open(comm::Communicator& world, comm::Communicator& group,
                      const std::optional<TraceRun>& run, const PhaseEvent& load) {
  if (!run) return clock_.elapsed_s();
  is_open_ = true;
  on_gpu_ = run->device.compute.on_gpu();
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

std::optional<RunTrace::Closing> RunTrace::close(comm::Communicator& world, comm::Communicator& group,
                                                 const End& end) {
  if (!is_open_) return std::nullopt;
  RankReport own;
  own.world_rank = ranks_.rank();
  own.clock = measure_clock();
  const double end_s = clock_.elapsed_s();
  own.add_phase("finish", end.finish_start_s, end_s);
  const std::vector<RankReport> reports = gather_reports(group, own);
  if (observer_) observer_->add_reports(reports);
  Closing closing{.account =
                      add_up_account(world, observer_ ? &observer_->ledger() : nullptr, reports, end_s)};
  closing.account.on_gpu = on_gpu_;
  if (end.notes) closing.notes = end.notes(closing.account);
  if (observer_) {
    observer_->add_account(closing.account, closing.notes);
    observer_->end(end.exit_reason);
  }
  return closing;
}

void RunTrace::close_after(const std::exception& error) noexcept {
  if (!observer_) return;
  try {
    observer_->end(fmt::format("failed: {}", error.what()));
  } catch (...) {
    observer_.reset();  // the run's own error is the one to report
  }
}

}  // namespace wan::apps
