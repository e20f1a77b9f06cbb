#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <iterator>
#include <optional>
#include <set>
#include <string>

#include "batch/observer.h"
#include "core/progress_mode.h"
#include "display/time_estimate.h"

namespace wan::display {

/// The form in which progress is shown.
struct ProgressStyle {
  bool is_bar = false;          ///< redraw one line; otherwise write lines now and then
  bool has_escapes = true;      ///< the bar may use escape codes; otherwise blanks wipe it out
  int columns = 80;             ///< width of the bar's terminal
  double line_every_s = 10;     ///< between lines
  double redraw_every_s = 0.1;  ///< between redraws of the bar
};

/// The style for a stream; nothing if no progress is to be shown. `automatic` is a bar if the stream ends in
/// a terminal that understands escape codes, the terminal of the MPI launcher included. It is lines
/// elsewhere.
std::optional<ProgressStyle> progress_style_of(std::FILE* stream, ProgressMode mode);

/// Writes progress to a stream: a bar that is redrawn in its place, or lines now and then.
class ProgressLine {
 public:
  /// Does not own the stream.
  ProgressLine(std::FILE* stream, ProgressStyle style);
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ProgressLine(ProgressLine&&) = delete;
  ProgressLine& operator=(ProgressLine&&) = delete;
  ~ProgressLine();  ///< clears the bar

  bool is_bar() const { return style_.is_bar; }
  /// Whether enough time has passed since text was last shown.
  bool is_due(double now_s) const;
  /// Shows the text, behind a bar that is filled to `share` (0 to 1) if the style has one.
  void show(const std::string& text, double share, double now_s);

 private:
  void draw_bar(const std::string& text, double share);
  void write(const std::string& text);

  std::FILE* stream_;
  ProgressStyle style_;
  double last_shown_s_;
  std::size_t drawn_columns_ = 0;  ///< of the bar on the screen
};

/// Shows "[####......] 3/10 cat-1a2b3c4d  step 12/40  4.10 s/step  1 being written  13 min left" on a
/// terminal. Writes the same without the bar elsewhere, at most one line every 10 s however many items go by.
class Progress final : public batch::ItemObserver {
 public:
  /// `now_s` is a clock in seconds. Does not own the stream.
  Progress(std::FILE* stream, ProgressStyle style, int group_count, std::function<double()> now_s);

  void on_phase(const PhaseEvent& event) override;
  void on_step(const StepEvent& event) override;
  void on_item_start(const batch::ItemStart& start) override;
  void on_writing(const std::string& id) override;
  void on_item_end(const batch::ItemOutcome& outcome) override;

 private:
  std::int64_t in_writing() const { return std::ssize(writing_); }
  std::string status(double now_s) const;
  double share() const;
  void show(bool at_once);

  ProgressLine line_;
  TimeEstimate estimate_;
  std::function<double()> now_s_;
  std::string id_;
  std::string phase_;
  std::set<std::string> writing_;  ///< ids of items that threads write
  std::int64_t settled_ = 0;
  std::int64_t rows_ = 0;
  std::int64_t failed_ = 0;
};

}  // namespace wan::display
