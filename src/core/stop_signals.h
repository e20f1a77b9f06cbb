#pragma once

#include <atomic>
#include <string_view>

#include "core/file.h"

namespace wan {

/// Takes SIGUSR1 and SIGTERM as wishes to stop: a scheduler's warning, scancel, kill. They no longer end the
/// process; whoever can stop in good order asks for them from time to time. Interrupts from the keyboard keep
/// their effect. Made first of all in main(), before any thread: those made later inherit the blocked
/// signals.
class StopSignals {
 public:
  /// Throws Error.
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  StopSignals(StopSignals&&) = delete;
  StopSignals& operator=(StopSignals&&) = delete;
  ~StopSignals() = default;  ///< the signals stay blocked: what runs now is on its way out

  /// Whether one has come, now or earlier. For one thread.
  bool have_come();
  /// The same, for any thread. It takes nothing away from have_come().
  bool are_pending() const;
  /// "SIGUSR1", "SIGTERM", or empty while none has come.
  std::string_view name() const { return name_; }

 private:
  UniqueFd descriptor_;
  std::string_view name_;
  std::atomic<bool> has_come_ = false;
};

/// Seconds since this process was started, which is earlier than anything that it could measure itself; 0
/// where the system does not say.
double process_age_s();

}  // namespace wan
