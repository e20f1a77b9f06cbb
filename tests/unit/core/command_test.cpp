#include "core/command.h"

#include <gtest/gtest.h>

#include "core/clock.h"

namespace wan {
namespace {

TEST(CommandTest, ReturnsWhatTheProgramPrints) {
  EXPECT_EQ(output_of_command({"printf", "%s\n", "1-02:03:04; $HOME"}, 5), "1-02:03:04; $HOME\n")
      << "no shell reads it";
}

TEST(CommandTest, AProgramThatFailsOrIsMissingSaysNothing) {
  EXPECT_FALSE(output_of_command({"false"}, 5));
  EXPECT_FALSE(output_of_command({"no-such-program-of-wan"}, 5));
  EXPECT_FALSE(output_of_command({}, 5));
}

TEST(CommandTest, NobodyWaitsForAProgramThatHangs) {
  const Stopwatch watch;
  EXPECT_FALSE(output_of_command({"sleep", "60"}, 0.1));
  EXPECT_FALSE(output_of_command({"sh", "-c", "exec >&-; exec sleep 60"}, 0.1)) << "its output is closed";
  EXPECT_LT(watch.elapsed_s(), 10);
}

TEST(CommandTest, EndlessOutputIsCutOff) { EXPECT_FALSE(output_of_command({"yes"}, 20)); }

}  // namespace
}  // namespace wan
