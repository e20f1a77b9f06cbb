#include "launch/writer_count.h"

#include <gtest/gtest.h>

namespace wan::launch {
namespace {

constexpr std::uint64_t gib = 1U << 30;

TEST(WriterCount, AThreadHasACoreBesideTheOneThatComputes) {
  EXPECT_EQ(writers_that_fit(1, 64 * gib, gib), 1);
  EXPECT_EQ(writers_that_fit(2, 64 * gib, gib), 1);
  EXPECT_EQ(writers_that_fit(4, 64 * gib, gib), 3);
  EXPECT_EQ(writers_that_fit(64, 64 * gib, gib), 4);
}

TEST(WriterCount, AllVideosTakeAtMostHalfOfTheMemory) {
  EXPECT_EQ(writers_that_fit(16, 8 * gib, gib), 3) << "three in writing and one that is being made";
  EXPECT_EQ(writers_that_fit(16, 4 * gib, gib), 1);
  EXPECT_EQ(writers_that_fit(16, 3 * gib, gib), 0);
  EXPECT_EQ(writers_that_fit(16, 0, gib), 0);
}

TEST(WriterCount, TheLargestRowDecides) {
  RunInput input;
  input.rows = manifest::parse_manifest("id,prompt,size,frame_num\na,a,832*480,81\nb,b,1280*720,81\n",
                                        "m.csv", TaskKind::t2v);
  constexpr std::int64_t pixels = 1280 * 720;
  const std::int64_t bytes = bytes_in_writing(input, false);
  EXPECT_GT(bytes, pixels * 3 * 81);
  EXPECT_EQ(bytes_in_writing(input, true) - bytes, pixels * 3 * 81) << "the frames are copied once more";
}

}  // namespace
}  // namespace wan::launch
