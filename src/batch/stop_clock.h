#pragma once

#include <functional>
#include <optional>

#include "batch/stop_cause.h"

namespace wan::batch {

/// Tells when a run has to stop, because it was asked to or to end within its time limit. There is one per
/// group leader. It learns from this run how long the next piece of work will take.
class StopClock {
 public:
  struct Options {
    std::function<bool()> is_signalled = {};   ///< this process was told to stop; may be empty
    std::function<bool()> has_stop_file = {};  ///< the user's file is there; may be empty
    std::function<double()> elapsed_s = {};    ///< since the job began; may be empty where there is no limit
    std::optional<double> time_limit_s = {};   ///< of the job
  };
  explicit StopClock(Options options) : options_(std::move(options)) {}

  /// Call it when another rank or group of this run was told to stop.
  void ask() { ask(StopCause::other_rank); }
  bool is_asked();
  /// Who asked: StopCause::none, other_rank, signal or stop_file.
  StopCause asked_by() const { return asked_by_; }

  // Measured times, in seconds.
  void took_preparation(double seconds) { preparation_s_ = seconds; }
  void took_step(double seconds);
  void took_ending(double seconds) { ending_s_ = seconds; }  ///< of an item: decoding, writing, publishing
  void took_saving(double seconds);                          ///< of the state of the item in flight
  /// The seconds that the end of the run will take, for a last look at all rows.
  void expect_closing(double seconds) { closing_s_ = seconds; }
  void begin_item() { step_s_.reset(); }  ///< the next item may have another size

  // Whether the next piece of work would end so close to the limit that no time is left to save the item.
  // False without a limit.
  bool is_too_late_for_item() const;
  bool is_too_late_for_step() const;
  bool is_too_late_for_ending() const;  ///< decoding and publishing
  /// Whether everything that is still under way has to be left now.
  bool is_out_of_time() const { return is_too_late_for(0); }

 private:
  void ask(StopCause cause);
  bool is_too_late_for(double seconds) const;

  Options options_;
  StopCause asked_by_ = StopCause::none;
  std::optional<double> preparation_s_;  ///< text, image, encoding
  std::optional<double> step_s_;         ///< the slowest of the item
  std::optional<double> ending_s_;
  double saving_s_ = 0;  ///< the slowest of the run
  double closing_s_ = 0;
};

}  // namespace wan::batch
