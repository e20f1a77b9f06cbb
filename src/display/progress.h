#pragma once

#include <cstdint>
#include <cstdio>
#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "batch/observer.h"
#include "core/progress_mode.h"

namespace wan::display {

/// How progress is shown.
struct ProgressStyle {
  bool is_bar = false;          ///< redraw one line; else write lines now and then
  bool has_escapes = true;      ///< the bar may use escape codes; else it is wiped out with blanks
  int columns = 80;             ///< width of the bar's terminal
  double line_every_s = 10;     ///< between lines
  double redraw_every_s = 0.1;  ///< between redraws of the bar
};

/// The style for a stream; nothing: show none. `automatic` is a bar where the stream ends in a terminal that
/// understands escape codes, also in that of the MPI launcher, and lines elsewhere.
std::optional<ProgressStyle> progress_style_of(std::FILE* stream, ProgressMode mode);

/// Draws "[####......] 3/10 cat-1a2b3c4d  step 12/40  4.10 s/step  13 min left" on a terminal and writes the
/// same without the bar elsewhere, at most one line every 10 s however many items go by. The time left
/// assumes that the groups of the run share what is left evenly; items are weighed by their work, and what a
/// unit of it takes is measured in this start.
class Progress final : public batch::ItemObserver {
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
  void on_item_start(const batch::ItemStart& start) override;
  void on_item_end(const batch::ItemOutcome& outcome) override;

 private:
  /// Seconds that were measured, and the work that they went into.
  struct Rate {
    double seconds = 0;
    double work = 0;
    bool is_known() const { return work > 0 && seconds > 0; }
    double s_per_unit() const { return seconds / work; }
  };

  double step_s() const;  ///< of the item's latest steps; 0 before the first one of this start
  double rest_rate() const;
  std::optional<double> rest_of_item_s() const;
  std::optional<double> time_left_s() const;
  std::string status() const;
  void show(bool at_once);
  void draw();
  void write(const std::string& text);

  std::FILE* stream_;
  ProgressStyle style_;
  int group_count_;
  std::function<double()> now_s_;
  std::string id_;
  std::string phase_;
  store::ItemWork work_;  ///< of the item
  store::WorkLeft left_;  ///< of the items after it
  std::int64_t settled_ = 0;
  std::int64_t rows_ = 0;
  std::int64_t failed_ = 0;
  Rate step_rate_;  ///< of all items that this group worked on
  Rate rest_rate_;  ///< of those that it finished
  double item_start_s_ = 0;
  int steps_done_ = 0;  ///< of the item, by earlier starts, too
  int step_count_ = 0;
  double steps_s_ = 0;                ///< of this start, in the item
  double before_steps_s_ = 0;         ///< from the item's start to its first step in this start
  std::deque<double> latest_step_s_;  ///< of this start, in the item
  double last_shown_s_;
  std::size_t drawn_columns_ = 0;  ///< of the bar that stands there
};

}  // namespace wan::display
