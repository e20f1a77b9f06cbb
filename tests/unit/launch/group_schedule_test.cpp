#include "launch/group_schedule.h"

#include <gtest/gtest.h>

namespace wan::launch {
namespace {

TEST(GroupSchedule, WithoutThreadsWritingComesBeforeTheNextItem) {
  GroupSchedule group(0);
  group.add(10, 4);
  group.add(10, 4);
  EXPECT_DOUBLE_EQ(group.free_at_s(), 28);
  EXPECT_DOUBLE_EQ(group.done_at_s(), 28);
}

TEST(GroupSchedule, AThreadWritesBesideTheNextItemAndTheLastWritingCounts) {
  GroupSchedule group(1);
  group.add(10, 4);
  EXPECT_DOUBLE_EQ(group.free_at_s(), 10);
  EXPECT_DOUBLE_EQ(group.done_at_s(), 14);
  group.add(10, 4);
  EXPECT_DOUBLE_EQ(group.free_at_s(), 20);
  EXPECT_DOUBLE_EQ(group.done_at_s(), 24);
}

TEST(GroupSchedule, AGroupWaitsForThreadsThatAreSlower) {
  GroupSchedule group(1);
  for (int item = 0; item < 4; ++item) group.add(1, 10);
  // Writing ends at 11, 21, 31, 41; with two in writing the group waits for the first of them.
  EXPECT_DOUBLE_EQ(group.done_at_s(), 41);
  EXPECT_DOUBLE_EQ(group.free_at_s(), 31);
  GroupSchedule two(2);
  for (int item = 0; item < 4; ++item) two.add(1, 10);
  EXPECT_DOUBLE_EQ(two.done_at_s(), 22);  // 11, 12, 21, 22
}

}  // namespace
}  // namespace wan::launch
