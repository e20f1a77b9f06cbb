#pragma once

#include <vector>

namespace wan::launch {

/// When a group is done with its items, if its threads write each video beside the next items. A group begins
/// an item only while at most as many videos are in writing as it has threads. Without threads it writes by
/// itself.
class GroupSchedule {
 public:
  explicit GroupSchedule(int writers);

  /// Seconds until the group can begin its next item.
  double free_at_s() const { return free_s_; }
  /// Seconds until everything that it made is written.
  double done_at_s() const { return done_s_; }
  /// Makes an item that takes so many seconds up to its writing, and so many to be written.
  void add(double making_s, double writing_s);

 private:
  std::vector<double> threads_free_s_;  ///< by thread
  std::vector<double> writing_until_s_;
  double free_s_ = 0;
  double done_s_ = 0;
};

}  // namespace wan::launch
