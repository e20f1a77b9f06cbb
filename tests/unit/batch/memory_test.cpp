// Items for which an engine's memory is short.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "runner_fixture.h"
#include "test_mailbox.h"

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
                          [](RunContext& context) { context.results.retry_failed = true; });
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
    context.results.retry_failed = true;
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

/// The first of two groups; the other one has nothing to do.
TEST_F(Runner, AnItemThatATeamHasNoMemoryForIsGoneOnWithByItsGroupAlone) {
  const auto rows = rows_of("id,prompt\na,a\n");
  for (const bool is_short_alone : {false, true}) {
    test::Post post;
    test::TestMailbox mine(post, 0, 2);
    test::TestMailbox others(post, 1, 2);
    TeamLetters teams(mine, 0, 2, 1);
    TeamLetters(others, 1, 2, 1).announce_idle();
    test::StubEngine engine;
    engine.largest_width = 2;
    engine.leaner = "less of everything";
    int shortages = 0;
    engine.on_step = [&](const Request& request, int step) {
      if (step + 1 < request.sample_steps) return;
      const bool is_team = engine.widths.back() > 1;
      if (is_team || (is_short_alone && ++shortages == 1)) throw MemoryError("denoise", "memory is short");
    };
    RunContext context = test::context_for(out_ / (is_short_alone ? "short alone" : "short in a team"));
    context.place.group_count = 2;
    context.join_worth_s = 0;
    context.checkpoint_interval_s = 0;
    test::AloneGroup group;
    test::Recorder recorder;
    const GroupCounts counts = run_group(engine, group, rows, context, recorder, teams);
    EXPECT_EQ(counts.made, 1);
    if (is_short_alone) {
      EXPECT_THAT(engine.widths, ElementsAre(1, 2, 1, 1));
      EXPECT_TRUE(engine.leaner.empty());  // now it had to
    } else {
      EXPECT_THAT(engine.widths, ElementsAre(1, 2, 1));
      EXPECT_FALSE(engine.leaner.empty());
    }
    EXPECT_GT(engine.first_steps.back(), 1);  // what the team saved is not done again
  }
}

}  // namespace
}  // namespace wan::batch
