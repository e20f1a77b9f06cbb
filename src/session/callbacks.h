#pragma once

#include <exception>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "wan/engine.h"
#include "wan/session.h"

namespace wan::session {

/// The caller's observer and stop function between the engine's collectives: an exception out of one of them
/// would leave the other ranks waiting. It is kept, and the request ends in order at the next step.
class Callbacks final : public Observer, public RunControl {
 public:
  Callbacks(Observer* observer, const StopFunction& stop) : observer_(observer), stop_(stop) {}

  void on_phase(const PhaseEvent& event) override {
    guarded([&] { observer_->on_phase(event); });
  }
  void on_step(const StepEvent& event) override {
    guarded([&] { observer_->on_step(event); });
  }
  void on_rank_phases(std::span<const PhaseEvent> events) override {
    guarded([&] { observer_->on_rank_phases(events); });
  }
  void on_stretch(const StretchEvent& stretch) override {
    guarded([&] { observer_->on_stretch(stretch); });
  }
  void on_samples(std::span<const DeviceSample> samples) override {
    guarded([&] { observer_->on_samples(samples); });
  }

  StepAction next_action(int steps_done, int step_count) override {
    if (!problem_ && stop_) {
      try {
        if (stop_(steps_done, step_count)) return StepAction::stop;
      } catch (...) {
        problem_ = std::current_exception();
      }
    }
    return problem_ ? StepAction::stop : StepAction::go_on;
  }
  // A session saves no states.
  void on_state(int /*steps_done*/) override {}
  void on_state_problem(const std::string& /*message*/) override {}

  /// The first exception that the caller's function threw; null if there is none.
  const std::exception_ptr& problem() const { return problem_; }
  std::optional<std::string> describe_problem() const {
    if (!problem_) return std::nullopt;
    try {
      std::rethrow_exception(problem_);
    } catch (const std::exception& error) {
      return error.what();
    } catch (...) {
      return "an exception of unknown type";
    }
  }

 private:
  template <typename Call>
  void guarded(Call&& call) {
    if (observer_ == nullptr || problem_) return;
    try {
      call();
    } catch (...) {
      problem_ = std::current_exception();
    }
  }

  Observer* observer_;
  const StopFunction& stop_;
  std::exception_ptr problem_;
};

}  // namespace wan::session
