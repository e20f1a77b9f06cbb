#include "engine/step_reporter.h"

#include <gtest/gtest.h>

namespace wan::engine {
namespace {

TEST(Median, IsTheMiddleValueOrTheMeanOfTheTwoMiddleOnes) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({4.5}), 4.5);
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_DOUBLE_EQ(median({4.9, 4.8}), 4.85);
  EXPECT_EQ(median({9, 1, 4, 2}), 3);
  EXPECT_EQ(median({2, 2, 2, 2, 1, 8}), 2);
}

}  // namespace
}  // namespace wan::engine
