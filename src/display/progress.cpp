#include "display/progress.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/console.h"
#include "core/strings.h"
#include "display/terminal.h"

namespace wan::display {
namespace {

/// The first step of a start is slow, and groups that join change the pace.
constexpr std::size_t steps_in_mean = 10;

struct Line {
  std::string text;
  std::size_t columns = 0;
};

/// As much of `text`, which is UTF-8, as fits: letters of some scripts are two columns wide.
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

Progress::Progress(std::FILE* stream, ProgressStyle style, int group_count, std::function<double()> now_s)
    : stream_(stream),
      style_(style),
      group_count_(std::max(group_count, 1)),
      now_s_(std::move(now_s)),
      last_shown_s_(-std::numeric_limits<double>::infinity()) {}

Progress::~Progress() {
  if (drawn_columns_ == 0) return;
  write(style_.has_escapes ? "\r\x1b[K" : fmt::format("\r{:{}}\r", "", drawn_columns_));
}

void Progress::on_phase(const PhaseEvent& event) {
  phase_ = event.phase;
  show(false);
}

void Progress::on_step(const StepEvent& event) {
  if (event.group_rank != 0) return;  // one event per rank: the leader's speaks for all
  if (latest_step_s_.empty()) before_steps_s_ = std::max(now_s_() - item_start_s_ - event.wall_s, 0.0);
  steps_done_ = event.step + 1;
  step_count_ = event.step_count;
  steps_s_ += event.wall_s;
  latest_step_s_.push_back(event.wall_s);
  if (latest_step_s_.size() > steps_in_mean) latest_step_s_.pop_front();
  step_rate_.seconds += event.wall_s;
  step_rate_.work += work_.steps / std::max(step_count_, 1);
  show(false);
}

void Progress::on_item_start(const batch::ItemStart& start) {
  id_ = start.request.id;
  settled_ = start.settled;
  rows_ = start.rows;
  work_ = start.work;
  left_ = start.left;
  phase_.clear();
  steps_done_ = 0;
  step_count_ = start.request.sample_steps;
  steps_s_ = 0;
  before_steps_s_ = 0;
  latest_step_s_.clear();
  item_start_s_ = now_s_();
  show(false);
}

void Progress::on_item_end(const batch::ItemOutcome& outcome) {
  if (outcome.status == batch::ItemStatus::open) return;  // put aside for a later run
  ++settled_;
  if (outcome.status == batch::ItemStatus::failed) {
    ++failed_;
  } else {
    rest_rate_.seconds += std::max(now_s_() - item_start_s_ - steps_s_, 0.0);
    rest_rate_.work += work_.rest;
  }
  show(settled_ == rows_ && style_.is_bar);
}

double Progress::step_s() const {
  if (latest_step_s_.empty()) return 0;
  return std::accumulate(latest_step_s_.begin(), latest_step_s_.end(), 0.0) /
         static_cast<double>(latest_step_s_.size());
}

/// Seconds of everything but steps, per unit of work. Until an item is done only what comes before the steps
/// is known, so this is on the short side.
double Progress::rest_rate() const {
  if (rest_rate_.is_known()) return rest_rate_.s_per_unit();
  return work_.rest > 0 ? before_steps_s_ / work_.rest : 0;
}

std::optional<double> Progress::rest_of_item_s() const {
  const int steps_left = std::max(step_count_ - steps_done_, 0);
  double steps_left_s = step_s() * steps_left;
  if (latest_step_s_.empty()) {
    if (!step_rate_.is_known()) return std::nullopt;
    steps_left_s = step_rate_.s_per_unit() * work_.steps * steps_left / std::max(step_count_, 1);
  }
  const double rest_done_s = now_s_() - item_start_s_ - steps_s_;
  return steps_left_s + std::max(rest_rate() * work_.rest - rest_done_s, 0.0);
}

std::optional<double> Progress::time_left_s() const {
  const auto own_s = rest_of_item_s();
  if (!own_s || !step_rate_.is_known()) return own_s;
  const auto seconds_of = [&](const store::ItemWork& work) {
    return step_rate_.s_per_unit() * work.steps + rest_rate() * work.rest;
  };
  // However many groups there are, the largest item takes its time.
  return *own_s + std::max(seconds_of(left_.sum) / group_count_, seconds_of(left_.largest));
}

std::string Progress::status() const {
  std::string text = fmt::format("{}/{} {}", std::min(settled_ + 1, rows_), rows_, id_);
  if (steps_done_ > 0 && steps_done_ < step_count_) {
    text += fmt::format("  step {}/{}  {:.2f} s/step", steps_done_, step_count_, step_s());
  } else if (!phase_.empty()) {
    text += fmt::format("  after {}", phase_);
  }
  if (failed_ > 0) text += fmt::format("  {} failed", failed_);
  if (settled_ == rows_) return text;
  if (const auto left_s = time_left_s()) text += fmt::format("  {} left", format_duration(*left_s));
  return text;
}

void Progress::show(bool at_once) {
  const double now_s = now_s_();
  const double period_s = style_.is_bar ? style_.redraw_every_s : style_.line_every_s;
  if (!at_once && now_s - last_shown_s_ < period_s) return;
  last_shown_s_ = now_s;
  draw();
}

void Progress::draw() {
  std::string line = status();
  if (!style_.is_bar) {
    write(line + "\n");
    return;
  }
  constexpr int bar_cells = 20;
  const double in_item = step_count_ > 0 ? static_cast<double>(steps_done_) / step_count_ : 0;
  const double share = rows_ > 0 ? (static_cast<double>(settled_) + (settled_ < rows_ ? in_item : 0)) /
                                       static_cast<double>(rows_)
                                 : 0;
  const int filled = std::clamp(static_cast<int>(share * bar_cells), 0, bar_cells);
  line = fmt::format("[{}{}] {}", std::string(static_cast<std::size_t>(filled), '#'),
                     std::string(static_cast<std::size_t>(bar_cells - filled), '.'), line);
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

void Progress::write(const std::string& text) { write_console(stream_, text); }

}  // namespace wan::display
