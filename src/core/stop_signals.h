#pragma once

#include <atomic>
#include <string_view>

#include "core/file.h"

namespace wan {

/// Receives SIGUSR1 and SIGTERM as requests to stop: a scheduler's warning, scancel, kill. They no longer end
/// the process. Code that can stop in order asks for them from time to time. SIGINT from the keyboard keeps
/// its effect. Make the object first in main(), before any thread, because threads inherit the blocked
/// signals.
class StopSignals {
 public:
  /// Throws Error if the signals cannot be blocked.
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  StopSignals(StopSignals&&) = delete;
  StopSignals& operator=(StopSignals&&) = delete;
  ~StopSignals() = default;  ///< The signals stay blocked: the rest of the program is already ending.

  /// Whether a signal has come, now or earlier. Only one thread may call it.
  bool have_come();
  /// Whether a signal has come. Any thread may call it. It does not change the answer of have_come().
  bool are_pending() const;
  /// "SIGUSR1", "SIGTERM", or empty if none has come.
  std::string_view name() const { return name_; }

 private:
  UniqueFd descriptor_;
  std::string_view name_;
  std::atomic<bool> has_come_ = false;
};

/// Seconds since the system started this process, which is earlier than main(). 0 if the system does not
/// tell.
double process_age_s();

}  // namespace wan
