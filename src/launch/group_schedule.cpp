#include "launch/group_schedule.h"

#include <algorithm>

namespace wan::launch {

GroupSchedule::GroupSchedule(int writers)
    : threads_free_s_(static_cast<std::size_t>(std::max(writers, 0)), 0.0) {}

void GroupSchedule::add(double making_s, double writing_s) {
  const double made_s = free_s_ + making_s;
  if (threads_free_s_.empty()) {
    free_s_ = done_s_ = made_s + writing_s;
    return;
  }
  double& thread_s = *std::ranges::min_element(threads_free_s_);
  thread_s = std::max(thread_s, made_s) + writing_s;
  done_s_ = std::max(done_s_, thread_s);
  std::erase_if(writing_until_s_, [&](double end_s) { return end_s <= made_s; });
  writing_until_s_.push_back(thread_s);
  std::ranges::sort(writing_until_s_);
  free_s_ = made_s;
  const std::size_t writers = threads_free_s_.size();
  if (writing_until_s_.size() > writers) free_s_ = writing_until_s_[writing_until_s_.size() - writers - 1];
}

}  // namespace wan::launch
