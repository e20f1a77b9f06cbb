#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <mutex>
#include <string_view>
#include <thread>

#include "core/clock.h"
#include "core/file.h"

namespace wan {

/// The end that signals ask for.
enum class StopLevel {
  none,
  stop,   ///< in order: finish the step in hand and save
  leave,  ///< soon: with the states that are saved already
  exit,   ///< at once
};

/// Counts signals. Launchers deliver one request twice, so whatever comes within 5 s of the first signal
/// belongs to it, and SIGUSR1, which schedulers send, never counts as a second one.
class StopCount {
 public:
  static constexpr double same_request_s = 5;
  explicit StopCount(double same_for_s = same_request_s) : same_for_s_(same_for_s) {}

  /// The level after SIGUSR1, SIGTERM or SIGINT has come at `now_s`, on any clock that only goes forward.
  StopLevel take(int signal, double now_s);

 private:
  double same_for_s_;
  StopLevel level_ = StopLevel::none;
  double first_s_ = 0;
};

/// Receives SIGUSR1, SIGTERM and SIGINT as requests to stop: a scheduler's warning, scancel, kill, Ctrl-C.
/// The first one does not end the process: code that can stop in order asks for it from time to time. A
/// second SIGTERM or SIGINT ends the process as soon as the listener has heard of it, a third at once; both
/// with exit code 85. Before listen(), there is nothing to save, and SIGINT keeps its effect. Make the object
/// first in main(), before any thread, because threads inherit the blocked signals.
class StopSignals {
 public:
  /// Hears of StopLevel::stop and StopLevel::leave with the name of the signal, each once, on a thread of its
  /// own. The process leaves when it has heard of StopLevel::leave.
  using Listener = std::function<void(StopLevel level, std::string_view signal)>;

  /// Throws Error if the signals cannot be blocked.
  explicit StopSignals(StopCount count = StopCount());
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  StopSignals(StopSignals&&) = delete;
  StopSignals& operator=(StopSignals&&) = delete;
  ~StopSignals();  ///< The signals stay blocked: the rest of the program is already ending.

  /// From now on, SIGINT is a request to stop, too, and `listener` hears of requests that come, and of one
  /// that came before. The objects that it refers to must live as long as this object.
  void listen(Listener listener);

  /// Whether a signal has come. Any thread may ask.
  bool have_come() const { return first_ != 0; }
  /// "SIGUSR1", "SIGTERM" or "SIGINT": the first that came; empty if none has.
  std::string_view name() const;

 private:
  void watch();
  void take(int signal);
  void tell(StopLevel level, int signal);

  UniqueFd signals_;
  UniqueFd end_;               ///< readable when the watching thread has to end
  std::atomic<int> first_{0};  ///< the first signal that came; 0: none
  Stopwatch clock_;            ///< for the watching thread, like count_
  StopCount count_;
  std::mutex mutex_;  ///< over the listener and the threads that tell it
  Listener listener_;
  std::array<std::jthread, 2> telling_;  ///< not the watching thread, because a listener may hang on a disk
  std::jthread watching_;                ///< last member: the thread uses all members above
};

/// Seconds since the system started this process, which is earlier than main(). 0 if the system does not
/// tell.
double process_age_s();

}  // namespace wan
