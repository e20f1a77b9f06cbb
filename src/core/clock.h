#pragma once

#include <chrono>

namespace wan {

/// Measures seconds on a monotonic clock since the object was made.
class Stopwatch {
 public:
  double elapsed_s() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

}  // namespace wan
