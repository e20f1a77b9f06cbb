#include "display/progress.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "core/console.h"
#include "core/strings.h"
#include "display/terminal.h"

namespace wan::display {
namespace {

struct Line {
  std::string text;
  std::size_t columns = 0;
};

/// The part of `text`, which is UTF-8, that fits. Letters of some scripts are two columns wide.
Line cut_to_columns(const std::string& text, std::size_t columns) {
  Line line;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (std::size_t at = 0; at < text.size();) {
    utf8proc_int32_t letter = 0;
    const auto size = std::max<utf8proc_ssize_t>(
        utf8proc_iterate(bytes + at, static_cast<utf8proc_ssize_t>(text.size() - at), &letter), 1);
    const auto width = static_cast<std::size_t>(letter < 0 ? 1 : std::max(utf8proc_charwidth(letter), 0));
    if (line.columns + width > columns) break;
    line.text.append(text, at, static_cast<std::size_t>(size));
    line.columns += width;
    at += static_cast<std::size_t>(size);
  }
  return line;
}

}  // namespace

std::optional<ProgressStyle> progress_style_of(std::FILE* stream, ProgressMode mode) {
  if (mode == ProgressMode::off) return std::nullopt;
  ProgressStyle style;
  style.has_escapes = understands_escapes();
  if (mode == ProgressMode::lines) return style;
  const auto terminal = terminal_behind(stream);
  style.is_bar = mode == ProgressMode::bar || (terminal && style.has_escapes);
  if (terminal) style.columns = terminal->columns;
  return style;
}

ProgressLine::ProgressLine(std::FILE* stream, ProgressStyle style)
    : stream_(stream), style_(style), last_shown_s_(-std::numeric_limits<double>::infinity()) {}

ProgressLine::~ProgressLine() {
  if (drawn_columns_ == 0) return;
  write(style_.has_escapes ? "\r\x1b[K" : fmt::format("\r{:{}}\r", "", drawn_columns_));
}

bool ProgressLine::is_due(double now_s) const {
  return now_s - last_shown_s_ >= (style_.is_bar ? style_.redraw_every_s : style_.line_every_s);
}

void ProgressLine::show(const std::string& text, double share, double now_s) {
  last_shown_s_ = now_s;
  if (style_.is_bar) {
    draw_bar(text, share);
  } else {
    write(text + "\n");
  }
}

void ProgressLine::draw_bar(const std::string& text, double share) {
  constexpr int bar_cells = 20;
  const int filled = std::clamp(static_cast<int>(share * bar_cells), 0, bar_cells);
  const std::string line = fmt::format("[{}{}] {}", std::string(static_cast<std::size_t>(filled), '#'),
                                       std::string(static_cast<std::size_t>(bar_cells - filled), '.'), text);
  // A line that wraps could not be drawn over.
  const Line fitting = cut_to_columns(line, static_cast<std::size_t>(std::max(style_.columns - 1, 1)));
  if (style_.has_escapes) {
    write(fmt::format("\r{}\x1b[K", fitting.text));
  } else {
    const std::size_t blanks = drawn_columns_ - std::min(drawn_columns_, fitting.columns);
    write(fmt::format("\r{}{:{}}", fitting.text, "", blanks));
  }
  drawn_columns_ = fitting.columns;
}

void ProgressLine::write(const std::string& text) { write_console(stream_, text); }

Progress::Progress(std::FILE* stream, ProgressStyle style, int group_count, std::function<double()> now_s)
    : line_(stream, style), estimate_(group_count), now_s_(std::move(now_s)) {}

void Progress::on_phase(const PhaseEvent& event) {
  phase_ = event.phase;
  show(false);
}

void Progress::on_step(const StepEvent& event) {
  if (event.group_rank != 0) return;  // every rank has an event; the leader's speaks for all
  estimate_.end_step(event, now_s_());
  show(false);
}

void Progress::on_item_start(const batch::ItemStart& start) {
  id_ = start.request.id;
  settled_ = start.settled;
  rows_ = start.rows;
  phase_.clear();
  estimate_.begin_item(start, now_s_());
  show(false);
}

void Progress::on_writing(const std::string& id) {
  writing_.insert(id);
  phase_ = "decode";
  estimate_.finish_item(now_s_());
  show(false);
}

void Progress::on_item_end(const batch::ItemOutcome& outcome) {
  const bool was_written = writing_.erase(outcome.id) > 0;
  if (outcome.status == batch::ItemStatus::open) return;  // left to a later run
  ++settled_;
  if (outcome.status == batch::ItemStatus::failed) {
    ++failed_;
  } else if (was_written) {
    estimate_.finish_writing(outcome.background_s());
  } else {
    estimate_.finish_item(now_s_());
  }
  show(settled_ == rows_ && line_.is_bar());
}

std::string Progress::status(double now_s) const {
  std::string text = fmt::format("{}/{} {}", std::min(settled_ + in_writing() + 1, rows_), rows_, id_);
  const int steps_done = estimate_.steps_done();
  if (steps_done > 0 && steps_done < estimate_.step_count()) {
    text +=
        fmt::format("  step {}/{}  {:.2f} s/step", steps_done, estimate_.step_count(), estimate_.step_s());
  } else if (steps_done > 0 && phase_ != "decode") {
    text += fmt::format("  step {}/{} done, decoding", steps_done, steps_done);
  } else if (!phase_.empty()) {
    text += fmt::format("  after {}", phase_);
  }
  if (in_writing() > 0) text += fmt::format("  {} being written", in_writing());
  if (failed_ > 0) text += fmt::format("  {} failed", failed_);
  if (settled_ == rows_) return text;
  if (const auto left_s = estimate_.time_left_s(now_s)) {
    text += fmt::format("  {} left", format_duration(*left_s));
  }
  return text;
}

/// The part of all rows that is settled, the steps of the item in flight included.
double Progress::share() const {
  if (rows_ == 0) return 0;
  const int step_count = estimate_.step_count();
  const double in_item = step_count > 0 ? static_cast<double>(estimate_.steps_done()) / step_count : 0;
  const std::int64_t made = settled_ + in_writing();
  return (static_cast<double>(made) + (made < rows_ ? in_item : 0)) / static_cast<double>(rows_);
}

void Progress::show(bool at_once) {
  const double now_s = now_s_();
  if (at_once || line_.is_due(now_s)) line_.show(status(now_s), share(), now_s);
}

}  // namespace wan::display
