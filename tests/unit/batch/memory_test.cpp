// Items for which an engine's memory is short.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "runner_fixture.h"

namespace wan::batch {
namespace {

using test::rows_of;
using test::Runner;
using ::testing::ElementsAre;

TEST_F(Runner, AnItemThatMemoryIsShortForIsTriedOnceMoreWithALeanerPlan) {
  const auto rows = rows_of("id,prompt\na,a\nb,large\nc,c\n");
  int shortages = 1;
  on_step_ = [&](const Request& request, int step) {
    if (request.prompt == "large" && step == 2 && shortages-- > 0)
      throw MemoryError("denoise", "memory is short");
  };
  leaner_ = "less of everything";
  EXPECT_THAT(run(rows, "run-1"), ElementsAre("a", "large", "large", "c"));
  EXPECT_EQ(counts_.made, 3);
  EXPECT_THAT(first_steps_, ElementsAre(0, 0, 0, 0));
}

TEST_F(Runner, AnItemGoesOnFromWhatItsFirstAttemptSaved) {
  int shortages = 1;
  on_step_ = [&](const Request&, int step) {
    if (step == 2 && shortages-- > 0) throw MemoryError("denoise", "memory is short");
  };
  leaner_ = "less of everything";
  run(rows_of("id,prompt\nb,large\n"), "run-1",
      [](RunContext& context) { context.checkpoint_interval_s = 0; });
  EXPECT_THAT(first_steps_, ElementsAre(0, 2));
  EXPECT_EQ(read("b.json")["resumed_at_steps"], nlohmann::json({2}));
}

TEST_F(Runner, MemoryThatIsShortTwiceOrForTheLeanestPlanFailsTheItem) {
  const auto rows = rows_of("id,prompt\na,large\nb,b\n");
  on_step_ = [](const Request& request, int) {
    if (request.prompt == "large") throw MemoryError("denoise", "memory is short");
  };
  for (const bool can_be_leaner : {true, false}) {
    leaner_ = can_be_leaner ? "less of everything" : "";
    const auto made = run(rows, can_be_leaner ? "run-1" : "run-2",
                          [](RunContext& context) { context.retry_failed = true; });
    EXPECT_EQ(std::ranges::count(made, "large"), can_be_leaner ? 2 : 1);
    EXPECT_EQ(counts_.failed, 1);
    EXPECT_EQ(read("a.failed.json")["stage"], "denoise");
    EXPECT_EQ(read("a.failed.json")["message"], "memory is short");
  }
  EXPECT_TRUE(std::filesystem::exists(out_ / "b.mp4"));
}

TEST_F(Runner, MemoryIsNotTheManifestsFaultAndCostsNoSteps) {
  const auto rows = rows_of("id,prompt\na,large\n");
  const auto again = [](RunContext& context) {
    context.checkpoint_interval_s = 0;
    context.retry_failed = true;
  };
  for (const char* stage : {"text", "denoise"}) {
    on_step_ = [&](const Request&, int) { throw MemoryError(stage, "memory is short"); };
    run(rows, fmt::format("run-{}", stage), again);
    EXPECT_EQ(read("a.failed.json")["message"], "memory is short");  // without the prompt's line and column
    EXPECT_EQ(first_steps_.size(), 1U);
  }
  on_step_ = [](const Request&, int step) {
    if (step == 2) throw MemoryError("denoise", "memory is short");
  };
  run(rows, "run-3", again);
  on_step_ = {};
  run(rows, "run-4", again);
  EXPECT_THAT(first_steps_, ElementsAre(2));
}

}  // namespace
}  // namespace wan::batch
