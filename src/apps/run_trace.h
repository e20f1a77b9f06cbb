#pragma once

#include <functional>
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

  /// The end of a run, for close().
  struct End {
    double finish_start_s = 0;  ///< the time since then is "finish"
    std::string exit_reason;
    /// The notes of an account, alike on all ranks; empty: there are none.
    std::function<std::vector<display::Note>(const display::RunAccount&)> notes = {};
  };
  /// The account of the run, on every rank, and its notes.
  struct Closing {
    display::RunAccount account;
    std::vector<display::Note> notes = {};
  };
  /// Ends the trace in order. Collective over `world`, which has all ranks of the run, and `group`. Nothing
  /// without open().
  std::optional<Closing> close(comm::Communicator& world, comm::Communicator& group, const End& end);

  /// Ends the trace of a run that throws: no collective.
  void close_after(const std::exception& error) noexcept;

 private:
  comm::ClockOffset measure_clock() const;

  const comm::MpiRanks& ranks_;
  const Stopwatch& clock_;
  bool is_open_ = false;
  bool on_gpu_ = false;
  std::unique_ptr<TraceObserver> observer_;
};

}  // namespace wan::apps
