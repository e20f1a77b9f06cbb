#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "batch/runner.h"
#include "batch/waiting_items.h"
#include "store/saved_states.h"
#include "stub_group.h"
#include "support/temp_dir.h"

namespace wan::batch {
namespace {

using test::context_for;
using test::rows_of;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto high = Expert::high_noise;
constexpr auto low = Expert::low_noise;

/// Runs of a group whose experts take turns, with items of four steps.
class Turns : public ::testing::Test {
 protected:
  struct Done {
    GroupCounts counts;
    RunCounts all;
    std::vector<Expert> experts;
    std::vector<std::string> started, waited;
    std::vector<int> first_steps;
    std::vector<ItemOutcome> ended;
  };

  Done run(int items_in_turn, const std::function<void(RunContext&)>& change = {},
           const std::string& name = "run-1") {
    RunContext context = context_for(out_, name);
    context.requests.command_line.sample_steps = 4;
    context.items_in_turn = items_in_turn;
    if (change) change(context);
    test::StubEngine engine;
    engine.on_step = on_step_;
    test::AloneGroup group;
    test::Recorder recorder;
    TeamLetters teams;
    const auto rows = rows_of(csv_);
    Done done;
    done.counts = run_group(engine, group, rows, context, recorder, teams);
    done.all = finish_run(group, done.counts, rows, context, engine.task()).counts;
    done.experts = engine.experts;
    done.first_steps = engine.first_steps;
    done.started = recorder.started;
    done.waited = recorder.waited;
    done.ended = recorder.ended;
    return done;
  }

  wan::test::TempDir dir_;
  std::filesystem::path out_ = dir_ / "out";
  std::string csv_ = "id,prompt\na,cat\nb,dog\nc,cow\nd,hen\ne,pig\n";
  std::function<void(const Request&, int step)> on_step_;
};

TEST_F(Turns, AllItemsGoThroughOneExpertAndThenThroughTheOther) {
  const Done done = run(16);
  EXPECT_EQ(done.all.made, 5);
  EXPECT_THAT(done.experts, ElementsAre(high, low));
  EXPECT_THAT(done.started, ElementsAre("a", "b", "c", "d", "e", "a", "b", "c", "d", "e"));
  EXPECT_THAT(done.waited, ElementsAre("a", "b", "c", "d", "e"));
  EXPECT_THAT(done.first_steps, ElementsAre(0, 0, 0, 0, 0, 2, 2, 2, 2, 2));
  EXPECT_THAT(done.ended, SizeIs(5));
  EXPECT_EQ(done.all.steps_gained, 20);
  EXPECT_TRUE(std::filesystem::is_empty(out_ / ".claims"));
  EXPECT_TRUE(std::filesystem::is_empty(out_ / ".state"));
}

TEST_F(Turns, NoMoreItemsWaitThanAreAskedFor) {
  const Done done = run(2);
  EXPECT_EQ(done.all.made, 5);
  EXPECT_THAT(done.experts, ElementsAre(high, low, high, low, high, low));
  EXPECT_THAT(done.started, ElementsAre("a", "b", "a", "b", "c", "d", "c", "d", "e", "e"));
}

TEST_F(Turns, EachGroupTakesItsShareOfTheRows) {
  const Done done = run(16, [](RunContext& context) { context.place.group_count = 2; });
  EXPECT_THAT(done.experts, ElementsAre(high, low, high, low));  // three rows and two
}

TEST_F(Turns, WithoutTurnsAnItemIsMadeAtOnce) {
  const Done done = run(0);
  EXPECT_THAT(done.waited, IsEmpty());
  EXPECT_THAT(done.started, ElementsAre("a", "b", "c", "d", "e"));
}

TEST_F(Turns, AStopKeepsTheStepsOfItemsThatWait) {
  bool stop = false;
  on_step_ = [&](const Request& request, int step) { stop = stop || (request.id == "c" && step == 0); };
  const Done first = run(16, [&](RunContext& context) { context.stop.is_requested = [&] { return stop; }; });
  EXPECT_TRUE(first.counts.stopped);
  EXPECT_EQ(first.all.open, 5);
  EXPECT_EQ(first.all.steps_gained, 5);
  EXPECT_THAT(first.ended, SizeIs(3));
  EXPECT_TRUE(std::filesystem::is_empty(out_ / ".claims"));

  on_step_ = {};
  const Done second = run(16, {}, "run-2");
  EXPECT_EQ(second.all.made, 5);
  EXPECT_EQ(second.all.steps_gained, 15) << "no step is made again";
  EXPECT_THAT(second.experts, ElementsAre(high, low));
}

TEST_F(Turns, AStopInTheSecondTurnLosesNoStep) {
  bool stop = false;
  on_step_ = [&](const Request& request, int step) { stop = stop || (request.id == "b" && step == 2); };
  const Done first = run(16, [&](RunContext& context) { context.stop.is_requested = [&] { return stop; }; });
  EXPECT_EQ(first.all.made, 1);
  EXPECT_EQ(first.all.steps_gained, 13);
  on_step_ = {};
  const Done second = run(16, {}, "run-2");
  EXPECT_EQ(second.all.made, 4);
  EXPECT_EQ(second.all.steps_gained, 7);
  EXPECT_THAT(second.experts, ElementsAre(low)) << "no item needs the first expert any more";
}

TEST_F(Turns, AnItemThatFailsLeavesTheOthersAlone) {
  on_step_ = [](const Request& request, int step) {
    if ((request.id == "b" && step == 1) || (request.id == "d" && step == 3))
      throw ItemError("denoise", "not finite");
  };
  const Done done = run(16);
  EXPECT_EQ(done.all.made, 3);
  EXPECT_EQ(done.counts.failed, 2);
  EXPECT_THAT(done.experts, ElementsAre(high, low));
}

TEST_F(Turns, ADraftIsMadeInTheTurnOfItsLastStep) {
  const Done early = run(16, [](RunContext& context) { context.results.draft.after_step = 1; });
  EXPECT_THAT(early.waited, IsEmpty()) << "a draft before the switch needs one expert";
  EXPECT_THAT(early.experts, ElementsAre(high));
  const Done late = run(
      16, [](RunContext& context) { context.results.draft.after_step = 3; }, "run-2");
  EXPECT_THAT(late.waited, SizeIs(5));
  EXPECT_THAT(late.experts, ElementsAre(high, low));
}

TEST(WaitingItems, TheirTurnLastsUntilNoneIsLeft) {
  wan::test::TempDir dir;
  const RunContext context = context_for(dir / "out");
  store::Claims claims(context.folder.claims(), store::ClaimOwner::this_process("run-1", ""), context.timing);
  const auto rows = rows_of("id,prompt\na,cat\nb,dog\n");
  WaitingItems waiting(2);
  EXPECT_TRUE(waiting.take_turns());
  EXPECT_FALSE(WaitingItems(0).take_turns());
  for (const manifest::ManifestRow& row : rows) {
    EXPECT_FALSE(waiting.is_their_turn());
    store::ClaimAttempt attempt = claims.try_claim(row.id);
    waiting.add({.row = row,
                 .claim = std::move(*attempt.claim),
                 .parameters = {},
                 .origin = {},
                 .deaths = {},
                 .before = {}});
  }
  EXPECT_TRUE(waiting.is_their_turn());
  EXPECT_EQ(waiting.take().row.id, "a");
  EXPECT_TRUE(waiting.is_their_turn()) << "the rest of the turn";
  EXPECT_EQ(waiting.take().row.id, "b");
  EXPECT_FALSE(waiting.is_their_turn());
}

}  // namespace
}  // namespace wan::batch
