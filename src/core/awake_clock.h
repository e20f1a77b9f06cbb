#pragma once

#include <chrono>

namespace wan {

/// Seconds that a process spends waiting for something, without the time in which the process itself was
/// away: suspended, or kept from running. Whoever waits asks again and again; of a pause between two
/// questions that is longer than `longest_pause_s`, nothing counts. What was away cannot blame others for
/// their silence.
class AwakeClock {
 public:
  using Clock = std::chrono::steady_clock;
  explicit AwakeClock(double longest_pause_s = 1) : longest_pause_s_(longest_pause_s) {}

  double elapsed_s() { return elapsed_s_at(Clock::now()); }
  /// The same at a time that a test chooses, not earlier than that of the last call.
  double elapsed_s_at(Clock::time_point now) {
    const double pause_s = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    if (pause_s <= longest_pause_s_) elapsed_s_ += pause_s;
    return elapsed_s_;
  }

 private:
  double longest_pause_s_;
  double elapsed_s_ = 0;
  Clock::time_point last_ = Clock::now();
};

}  // namespace wan
