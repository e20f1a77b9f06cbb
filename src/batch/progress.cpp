#include "batch/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/console.h"

namespace wan::batch {

ProgressStyle progress_style_of(std::FILE* stream) {
  ProgressStyle style;
  const int file = ::fileno(stream);
  style.is_terminal = file >= 0 && ::isatty(file) == 1;
  winsize size{};
  if (style.is_terminal && ::ioctl(file, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    style.columns = size.ws_col;
  return style;
}

std::string format_duration(double seconds) {
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  if (seconds < 99.5) return fmt::format("{:.0f} s", seconds);
  const auto minutes = static_cast<std::int64_t>(std::llround(seconds / 60));
  if (minutes < 100) return fmt::format("{} min", minutes);
  return fmt::format("{} h {:02} min", minutes / 60, minutes % 60);
}

Progress::Progress(std::FILE* stream, ProgressStyle style, int group_count, std::function<double()> now_s)
    : stream_(stream),
      style_(style),
      group_count_(std::max(group_count, 1)),
      now_s_(std::move(now_s)),
      last_shown_s_(-std::numeric_limits<double>::infinity()) {}

Progress::~Progress() {
  if (!has_bar_) return;
  write_console(stream_, "\r\x1b[K");
}

void Progress::on_phase(const PhaseEvent& event) {
  phase_ = event.phase;
  show(false);
}

void Progress::on_step(const StepEvent& event) {
  if (event.group_rank != 0) return;  // one event per rank: the leader's speaks for all
  steps_done_ = event.step + 1;
  step_count_ = event.step_count;
  steps_s_ += event.wall_s;
  show(false);
}

void Progress::on_item_start(const ItemStart& start) {
  id_ = start.request.id;
  settled_ = start.settled;
  rows_ = start.rows;
  phase_.clear();
  steps_done_ = 0;
  step_count_ = start.request.sample_steps;
  steps_s_ = 0;
  item_start_s_ = now_s_();
  show(false);
}

void Progress::on_item_end(const ItemOutcome& outcome) {
  if (outcome.status == ItemStatus::open) return;  // put aside for a later run
  ++settled_;
  if (outcome.status == ItemStatus::failed) {
    ++failed_;
  } else {
    ++timed_items_;
    timed_items_s_ += outcome.seconds;
  }
  show(settled_ == rows_ && style_.is_terminal);
}

double Progress::step_s() const { return steps_done_ > 0 ? steps_s_ / steps_done_ : 0; }

double Progress::time_left_s() const {
  double item_s = 0;
  if (timed_items_ > 0) {
    item_s = timed_items_s_ / static_cast<double>(timed_items_);
  } else if (steps_done_ > 0) {
    // What came before the steps is known; what comes after them is not, so this is on the short side.
    item_s = now_s_() - item_start_s_ + step_s() * (step_count_ - steps_done_);
  } else {
    return -1;
  }
  const double rest_of_item_s = std::max(item_s - (now_s_() - item_start_s_), 0.0);
  const auto items_left = static_cast<double>(std::max<std::int64_t>(rows_ - settled_ - 1, 0));
  return rest_of_item_s + std::ceil(items_left / group_count_) * item_s;
}

std::string Progress::status() const {
  std::string text = fmt::format("{}/{} {}", std::min(settled_ + 1, rows_), rows_, id_);
  if (steps_done_ > 0 && steps_done_ < step_count_) {
    text += fmt::format("  step {}/{}  {:.2f} s/step", steps_done_, step_count_, step_s());
  } else if (!phase_.empty()) {
    text += fmt::format("  after {}", phase_);
  }
  if (failed_ > 0) text += fmt::format("  {} failed", failed_);
  if (const double left_s = time_left_s(); left_s >= 0)
    text += fmt::format("  {} left", format_duration(left_s));
  return text;
}

void Progress::show(bool at_once) {
  const double now_s = now_s_();
  const double period_s = style_.is_terminal ? style_.redraw_every_s : style_.line_every_s;
  if (!at_once && now_s - last_shown_s_ < period_s) return;
  last_shown_s_ = now_s;
  draw();
}

void Progress::draw() {
  std::string line = status();
  if (!style_.is_terminal) {
    write_console(stream_, line + "\n");
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
  // Ids are ASCII, so bytes are columns. A line that wraps could not be drawn over.
  line.resize(std::min(line.size(), static_cast<std::size_t>(std::max(style_.columns - 1, 1))));
  write_console(stream_, fmt::format("\r{}\x1b[K", line));
  has_bar_ = true;
}

}  // namespace wan::batch
