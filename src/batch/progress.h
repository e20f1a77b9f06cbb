#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>

#include "batch/observer.h"

namespace wan::batch {

/// How and where progress is shown.
struct ProgressStyle {
  bool is_terminal = false;     ///< redraw one line; else write lines now and then
  int columns = 80;             ///< width of the terminal
  double line_every_s = 10;     ///< between lines where there is no terminal
  double redraw_every_s = 0.1;  ///< between redraws on a terminal
};

/// Style for a stream: whether it is a terminal, and how wide.
ProgressStyle progress_style_of(std::FILE* stream);

/// Draws "[####......] 3/10 cat-1a2b3c4d step 12/40 4.1 s/step 13 min left" on a terminal and writes the same
/// without the bar elsewhere, at most one line every 10 s however many items go by. The time left assumes
/// that the groups of the run share what is left evenly and that the items still to come are like those seen.
class Progress final : public ItemObserver {
 public:
  /// `now_s` is a clock in seconds; the stream is not owned.
  Progress(std::FILE* stream, ProgressStyle style, int group_count, std::function<double()> now_s);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  Progress(Progress&&) = delete;
  Progress& operator=(Progress&&) = delete;
  ~Progress() override;  ///< clears the bar

  void on_phase(const PhaseEvent& event) override;
  void on_step(const StepEvent& event) override;
  void on_item_start(const ItemStart& start) override;
  void on_item_end(const ItemOutcome& outcome) override;

 private:
  double step_s() const;       ///< mean over the item's steps; 0 before the first
  double time_left_s() const;  ///< negative: not known yet
  std::string status() const;
  void show(bool at_once);
  void draw();

  std::FILE* stream_;
  ProgressStyle style_;
  int group_count_;
  std::function<double()> now_s_;
  std::string id_;
  std::string phase_;
  std::int64_t settled_ = 0;
  std::int64_t rows_ = 0;
  std::int64_t failed_ = 0;
  std::int64_t timed_items_ = 0;  ///< made by this group, and the seconds they took
  double timed_items_s_ = 0;
  double item_start_s_ = 0;
  int steps_done_ = 0;
  int step_count_ = 0;
  double steps_s_ = 0;
  double last_shown_s_;
  bool has_bar_ = false;
};

/// "3.2 s", "13 min", "2 h 05 min".
std::string format_duration(double seconds);

}  // namespace wan::batch
