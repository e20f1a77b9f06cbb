#pragma once

#include <map>
#include <memory>
#include <vector>

#include "apps/bench_report.h"
#include "apps/run_trace.h"
#include "core/clock.h"
#include "engine/step_reporter.h"
#include "gpu/monitor.h"

namespace wan::apps {

/// Keeps the steps for the report, and passes all events on to the trace, if there is one.
class BenchObserver final : public Observer {
 public:
  /// `leaves_out_half`: steps with an odd number do not come into the trace.
  BenchObserver(TraceObserver* trace, bool leaves_out_half)
      : trace_(trace), leaves_out_half_(leaves_out_half) {}
  void on_phase(const PhaseEvent& event) override {
    if (trace_ != nullptr) trace_->on_phase(event);
  }
  void on_step(const StepEvent& event) override {
    events_.push_back(event);
    if (trace_ == nullptr || (leaves_out_half_ && !is_in_half_trace(event.step))) return;
    const Stopwatch watch;
    trace_->on_step(event);
    trace_s_[event.step] += watch.elapsed_s();
  }
  void on_rank_phases(std::span<const PhaseEvent> events) override {
    if (trace_ != nullptr) trace_->on_rank_phases(events);
  }
  void on_stretch(const StretchEvent& stretch) override {
    if (trace_ != nullptr) trace_->on_stretch(stretch);
  }
  void on_samples(std::span<const DeviceSample> samples) override {
    if (trace_ != nullptr) trace_->on_samples(samples);
  }
  const std::vector<StepEvent>& events() const { return events_; }
  /// The time that the thread of the steps spent on the trace, by step.
  const std::map<int, double>& trace_s() const { return trace_s_; }

 private:
  TraceObserver* trace_;
  bool leaves_out_half_;
  std::vector<StepEvent> events_;
  std::map<int, double> trace_s_;
};

/// Who hears of the measured phases and steps.
struct Reporting {
  std::unique_ptr<gpu::Monitor> monitor;  ///< of this rank's GPU; null on the CPU
  std::unique_ptr<RunTrace> trace;        ///< open with --trace
  std::unique_ptr<BenchObserver> observer;
  std::unique_ptr<engine::StepReporter> steps;
};

}  // namespace wan::apps
