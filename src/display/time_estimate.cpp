#include "display/time_estimate.h"

#include <algorithm>
#include <numeric>

namespace wan::display {
namespace {

/// The first step of a start is slow, and groups that join change the pace.
constexpr std::size_t steps_in_mean = 10;

}  // namespace

TimeEstimate::TimeEstimate(int group_count) : group_count_(std::max(group_count, 1)) {}

void TimeEstimate::begin_item(const batch::ItemStart& start, double now_s) {
  if (last_end_s_) rest_rate_.seconds += now_s - *last_end_s_;
  last_end_s_.reset();
  item_ = {.work = start.work, .left = start.left, .start_s = now_s, .last_step = start.last_step};
  set_step_count(start.request.sample_steps);
}

void TimeEstimate::set_step_count(int of_whole_item) {
  item_.step_count = item_.last_step > 0 ? std::min(item_.last_step, of_whole_item) : of_whole_item;
}

void TimeEstimate::end_step(const StepEvent& event, double now_s) {
  if (item_.latest_step_s.empty()) {
    item_.before_steps_s = std::max(now_s - item_.start_s - event.wall_s, 0.0);
  }
  item_.steps_done = event.step + 1;
  set_step_count(event.step_count);
  item_.steps_s += event.wall_s;
  item_.latest_step_s.push_back(event.wall_s);
  if (item_.latest_step_s.size() > steps_in_mean) item_.latest_step_s.pop_front();
  step_rate_.seconds += event.wall_s;
  step_rate_.work += item_.work.steps / std::max(item_.step_count, 1);
}

void TimeEstimate::finish_item(double now_s) {
  rest_rate_.seconds += std::max(now_s - item_.start_s - item_.steps_s, 0.0);
  rest_rate_.work += item_.work.rest;
  last_end_s_ = now_s;
}

/// Seconds of the last item's writing, which nothing runs beside.
double TimeEstimate::last_writing_s(double now_s) const {
  if (!writing_s_) return 0;
  return last_end_s_ ? std::max(*writing_s_ - (now_s - *last_end_s_), 0.0) : *writing_s_;
}

double TimeEstimate::step_s() const {
  const std::deque<double>& latest = item_.latest_step_s;
  if (latest.empty()) return 0;
  return std::accumulate(latest.begin(), latest.end(), 0.0) / static_cast<double>(latest.size());
}

/// Seconds of everything but steps, per unit of work. Until an item is done, only the time before the steps
/// is known, so that this is too short.
double TimeEstimate::rest_rate() const {
  if (rest_rate_.is_known()) return rest_rate_.s_per_unit();
  return item_.work.rest > 0 ? item_.before_steps_s / item_.work.rest : 0;
}

std::optional<double> TimeEstimate::rest_of_item_s(double now_s) const {
  const int steps_left = std::max(item_.step_count - item_.steps_done, 0);
  double steps_left_s = step_s() * steps_left;
  if (item_.latest_step_s.empty()) {
    if (!step_rate_.is_known()) return std::nullopt;
    steps_left_s = step_rate_.s_per_unit() * item_.work.steps * steps_left / std::max(item_.step_count, 1);
  }
  if (last_end_s_) return 0;
  const double rest_done_s = now_s - item_.start_s - item_.steps_s;
  return steps_left_s + std::max(rest_rate() * item_.work.rest - rest_done_s, 0.0);
}

std::optional<double> TimeEstimate::time_left_s(double now_s) const {
  const auto own_s = rest_of_item_s(now_s);
  if (!own_s) return std::nullopt;
  if (!step_rate_.is_known()) return *own_s + last_writing_s(now_s);
  const auto seconds_of = [&](const store::ItemWork& work) {
    return step_rate_.s_per_unit() * work.steps + rest_rate() * work.rest;
  };
  // However many groups there are, the largest item takes its time.
  return *own_s + std::max(seconds_of(item_.left.sum) / group_count_, seconds_of(item_.left.largest)) +
         last_writing_s(now_s);
}

}  // namespace wan::display
