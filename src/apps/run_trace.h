#pragma once

#include <memory>
#include <string>

#include "apps/trace_observer.h"

namespace wan::apps {

/// The trace of a run on one rank: the leaders of groups write one, and the others tell them of themselves.
class RunTrace {
 public:
  /// `ranks`: of the run; `clock`: of the run on this rank. Both must outlive the trace.
  RunTrace(const comm::MpiRanks& ranks, const Stopwatch& clock) : ranks_(ranks), clock_(clock) {}

  /// Begins the trace. `group`: of this rank; `run`: what its leader needs; empty: no trace is wanted (alike
  /// on all ranks). `load`: the phase in which this rank loaded; the time around it is "start_up".
  /// Returns when that ended. Collective over `world`. Throws AgreedError.
  double open(comm::Communicator& world, comm::Communicator& group, const std::optional<TraceRun>& run,
              const PhaseEvent& load);

  /// The writer of the trace; null on ranks without one.
  TraceObserver* observer() { return observer_.get(); }

  /// Ends the trace in order. The time since `finish_start_s` is "finish". Collective over `ranks` and
  /// `group`. Does nothing without open().
  void close(comm::Communicator& group, double finish_start_s, const std::string& exit_reason);

  /// Ends the trace of a run that throws: no collective.
  void close_after(const std::exception& error) noexcept;

 private:
  comm::ClockOffset measure_clock() const;

  const comm::MpiRanks& ranks_;
  const Stopwatch& clock_;
  bool is_open_ = false;
  std::unique_ptr<TraceObserver> observer_;
};

}  // namespace wan::apps
