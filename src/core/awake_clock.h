#pragma once

#include <chrono>

namespace wan {

/// Measures how long a process waits, in seconds. It does not count the time in which the process itself was
/// away (suspended, or not scheduled). A process that was away must not blame others for their silence. The
/// caller asks again and again. If two calls are more than `longest_pause_s` apart, the time between them
/// does not count.
class AwakeClock {
 public:
  using Clock = std::chrono::steady_clock;
  explicit AwakeClock(double longest_pause_s = 1) : longest_pause_s_(longest_pause_s) {}

  double elapsed_s() { return elapsed_s_at(Clock::now()); }
  /// The same at a time that a test chooses. It must not be earlier than the time of the last call.
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
