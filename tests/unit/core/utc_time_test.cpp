#include "core/utc_time.h"

#include <gtest/gtest.h>

namespace wan {
namespace {

using std::chrono::microseconds;
using std::chrono::system_clock;

const system_clock::time_point moment{microseconds(1'795'930'165'999'042)};

TEST(UtcTime, TellsWholeSecondsWithoutRounding) { EXPECT_EQ(utc_text_s(moment), "2026-11-29T05:29:25Z"); }

TEST(UtcTime, TellsMicrosecondsWithLeadingZeros) {
  EXPECT_EQ(utc_text_us(moment), "2026-11-29T05:29:25.999042Z");
  EXPECT_EQ(utc_text_us(moment - microseconds(999'000)), "2026-11-29T05:29:25.000042Z");
}

}  // namespace
}  // namespace wan
