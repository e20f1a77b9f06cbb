// The parts of a leader, each by itself. runner_test.cpp and its neighbours test the leader as a whole.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "batch/group_orders.h"
#include "batch/item_queue.h"
#include "batch/state_saver.h"
#include "batch/stop_control.h"
#include "batch/team_growth.h"
#include "core/check.h"
#include "stub_group.h"
#include "support/temp_dir.h"
#include "test_mailbox.h"

namespace wan::batch {
namespace {

using test::context_for;
using test::rows_of;
using ::testing::HasSubstr;

TEST(GroupOrdersTest, OthersWaitUnlessTheyAreInTheEngine) {
  test::AloneGroup group;
  GroupOrders orders(group);
  EXPECT_TRUE(orders.do_others_wait());
  orders.send({.action = Order::Action::run});
  EXPECT_FALSE(orders.do_others_wait());
  orders.engine_has_returned();
  EXPECT_TRUE(orders.do_others_wait());
  orders.send({.action = Order::Action::make_leaner});
  EXPECT_TRUE(orders.do_others_wait());
  EXPECT_EQ(group.broadcasts, 2);
}

TEST(ItemCostTest, CountsTheTimeOfAPartForEachOfItsRanks) {
  ItemCost cost;
  EXPECT_EQ(cost.rank_seconds(), 0);
  cost.begin_part(100);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  cost.end_part();
  const double of_part = cost.rank_seconds();
  EXPECT_GE(of_part, 0.5);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(cost.rank_seconds(), of_part) << "no part is running";
  cost.phase_s["text"] = 1;
  cost.energy_j = 2;
  cost.begin_again();
  EXPECT_EQ(cost.rank_seconds(), 0);
  EXPECT_EQ(cost.energy_j, 0);
  EXPECT_EQ(cost.phase_s.at("text"), 1);
}

/// The leaders of two groups of one rank each; the second one only listens.
class Stopping : public ::testing::Test {
 protected:
  StopControl control(std::optional<double> time_limit_s = {}) {
    return {StopClock({.is_signalled = [this] { return is_signalled_; },
                       .elapsed_s = [this] { return now_s_; },
                       .time_limit_s = time_limit_s}),
            teams_, recorder_, *log_};
  }
  bool has_other_heard() {
    other_.read_letters();
    return other_.has_heard_stop();
  }

  Stopping() { recorder_.problem = &problem_; }

  bool is_signalled_ = false;
  double now_s_ = 0;
  std::string problem_;
  test::Recorder recorder_;
  std::shared_ptr<Log> log_ = silent_log();
  test::Post post_;
  test::TestMailbox mine_{post_, 0, 2};
  test::TestMailbox others_{post_, 1, 2};
  TeamLetters teams_{mine_, 0, 2, 1};
  TeamLetters other_{others_, 1, 2, 1};
};

TEST_F(Stopping, ASignalStopsTheRunAndTheOtherGroups) {
  StopControl stop = control();
  EXPECT_FALSE(stop.stops_before_item());
  EXPECT_FALSE(stop.stops_at_step(1, 4));
  EXPECT_FALSE(has_other_heard());
  is_signalled_ = true;
  EXPECT_TRUE(stop.stops_at_step(1, 4));
  EXPECT_TRUE(has_other_heard());
}

TEST_F(Stopping, AnotherGroupsLetterStopsTheRun) {
  StopControl stop = control();
  other_.announce_stop();
  EXPECT_TRUE(stop.is_told());
  EXPECT_TRUE(stop.stops_before_item());
}

TEST_F(Stopping, TheTimeLimitStopsThisGroupAlone) {
  StopControl stop = control(1000);
  now_s_ = 970;
  EXPECT_FALSE(stop.stops_at_step(1, 4));
  stop.clock().took_step(20);
  EXPECT_TRUE(stop.stops_at_step(1, 4));
  EXPECT_TRUE(stop.stops_before_item());
  stop.group_has_stopped();  // the limit explains it
  EXPECT_FALSE(stop.is_told());
  EXPECT_FALSE(has_other_heard());
  EXPECT_EQ(stop.cause(), StopCause::time_limit);
}

TEST_F(Stopping, TheStopFileStopsTheRunAndTheOtherGroups) {
  bool has_file = false;
  StopControl stop(StopClock({.has_stop_file = [&] { return has_file; }}), teams_, recorder_, *log_);
  EXPECT_FALSE(stop.stops_before_item());
  EXPECT_EQ(stop.cause(), StopCause::none);
  has_file = true;
  EXPECT_TRUE(stop.stops_at_step(1, 4));
  EXPECT_TRUE(has_other_heard());
  EXPECT_EQ(stop.cause(), StopCause::stop_file);
}

TEST_F(Stopping, TheEndOfTheJobIsNamed) {
  StopControl stop(StopClock({.elapsed_s = [] { return 999.0; }, .time_limit_s = 1000}), teams_, recorder_,
                   *log_, StopCause::job_end);
  EXPECT_EQ(stop.cause(), StopCause::none);
  EXPECT_TRUE(stop.stops_before_item());
  EXPECT_EQ(stop.cause(), StopCause::job_end);
}

TEST_F(Stopping, AStorageProblemStopsAllGroupsAtTheNextStep) {
  StopControl stop = control();
  problem_ = "the disk is full";
  EXPECT_TRUE(stop.stops_before_item());
  EXPECT_FALSE(has_other_heard()) << "the leader says so when it ends";
  EXPECT_TRUE(stop.stops_at_step(1, 4));
  EXPECT_TRUE(has_other_heard());
  EXPECT_EQ(stop.storage_problem(), problem_);
  stop.group_has_stopped();  // the storage explains it
  EXPECT_FALSE(stop.is_told());
}

TEST_F(Stopping, AStopThatNothingHereExplainsCameToAnotherRankOfTheGroup) {
  StopControl stop = control();
  stop.group_has_stopped();
  EXPECT_TRUE(stop.is_told());
  EXPECT_TRUE(has_other_heard());
}

TEST_F(Stopping, AStateThatCouldNotBeWrittenIsAStorageProblem) {
  StopControl stop = control();
  stop.note_storage_problem("no space");
  EXPECT_EQ(stop.storage_problem(), "no space");
  EXPECT_TRUE(stop.stops_before_item());
}

TEST_F(Stopping, AWiderTeamMustBeIdlePossibleAndWorthIt) {
  test::StubEngine engine;
  engine.largest_width = 2;
  TeamGrowth growth(engine, teams_, /*width=*/1, /*worth_s=*/5);
  const Request request;
  EXPECT_FALSE(growth.is_worth_joining(request, 100, 1)) << "the neighbour is at work";
  other_.announce_idle();
  teams_.read_letters();
  EXPECT_TRUE(growth.is_worth_joining(request, 10, 1)) << "half of 10 s";
  EXPECT_EQ(growth.next_width(), 2);
  EXPECT_FALSE(growth.is_worth_joining(request, 9, 1));
  EXPECT_FALSE(TeamGrowth(engine, teams_, /*width=*/2, 5).is_worth_joining(request, 100, 1));
  engine.largest_width = 1;
  EXPECT_FALSE(TeamGrowth(engine, teams_, /*width=*/1, 5).is_worth_joining(request, 100, 1));
}

/// One group's queue over the rows of a small manifest.
class Rows : public ::testing::Test {
 protected:
  store::Claims board(const std::string& run) {
    return {out_ / ".claims", store::ClaimOwner::this_process(run, ""), context_.timing};
  }
  /// The program has ended twice with the first row.
  void note_two_deaths() {
    const ItemDeaths deaths(context_.folder.states());
    const store::Parameters wanted = wanted_parameters(rows_[0], context_, task_);
    for (const char* token : {"one", "two"}) deaths.add(wanted, {.token = token, .who = "node7", .when = ""});
  }

  wan::test::TempDir dir_;
  std::filesystem::path out_ = dir_ / "out";
  RunContext context_ = context_for(out_, "run-1");
  Task task_ = test::StubEngine().task();
  std::vector<manifest::ManifestRow> rows_ = rows_of("id,prompt\na,cat\nb,dog\n");
};

TEST_F(Rows, AreGivenOutOnce) {
  store::Claims claims = board("run-1");
  ItemQueue queue(rows_, context_, task_, claims);
  const auto go_on = [] { return false; };
  const auto first = queue.next(go_on);
  const auto second = queue.next(go_on);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->row.id, "a");
  EXPECT_EQ(first->row_index, 0);
  EXPECT_EQ(second->row_index, 1);
  EXPECT_EQ(queue.seen(), 2);
  EXPECT_FALSE(queue.next(go_on));
}

TEST_F(Rows, AreNotClaimedWhenTheRunStops) {
  store::Claims claims = board("run-1");
  ItemQueue queue(rows_, context_, task_, claims);
  EXPECT_FALSE(queue.next([] { return true; }));
  EXPECT_EQ(queue.seen(), 0);
}

TEST_F(Rows, TellWhyTheyCannotBeClaimed) {
  using Outcome = RowAttempt::Outcome;
  store::Claims claims = board("run-1");
  RowClaimer claimer(context_, task_, claims);
  store::Claims others = board("run-2");
  {
    const auto held = others.try_claim("a", [] { return "another request"; });
    ASSERT_TRUE(held.claim);
    EXPECT_EQ(claimer.try_row(rows_[0], false).outcome, Outcome::undecided);
    const auto try_until_known = [&] {
      while (true) {
        std::this_thread::sleep_for(context_.timing.heartbeat / 4);
        RowAttempt attempt = claimer.try_row(rows_[0], false);
        if (attempt.outcome != Outcome::undecided) return attempt;
      }
    };
    const RowAttempt attempt = try_until_known();
    EXPECT_EQ(attempt.outcome, Outcome::conflict);
    EXPECT_THAT(attempt.conflict.message, HasSubstr("is making it with other values"));
  }
  {
    store::Claims partner = board("run-1");
    const auto held = partner.try_claim("b");
    ASSERT_TRUE(held.claim);
    EXPECT_EQ(claimer.try_row(rows_[1], false).outcome, Outcome::held);
  }
  EXPECT_EQ(claimer.try_row(rows_[1], false).outcome, Outcome::claimed);
}

TEST_F(Rows, WithTwoDeathsComeLast) {
  using Outcome = RowAttempt::Outcome;
  note_two_deaths();
  store::Claims claims = board("run-1");
  RowClaimer claimer(context_, task_, claims);
  EXPECT_EQ(claimer.try_row(rows_[0], /*is_last_round=*/false).outcome, Outcome::comes_last);
  EXPECT_EQ(claimer.try_row(rows_[0], /*is_last_round=*/true).claimed->deaths.size(), 2U);
}

TEST_F(Rows, WithTwoDeathsThatAnotherGroupLooksAtAreNotLeft) {
  using Outcome = RowAttempt::Outcome;
  note_two_deaths();
  store::Claims claims = board("run-1");
  store::Claims other_group = board("run-1");
  auto looked_at = other_group.try_claim("a");
  ASSERT_TRUE(looked_at.claim);
  RowClaimer claimer(context_, task_, claims);
  EXPECT_EQ(claimer.try_row(rows_[0], false).outcome, Outcome::undecided);
  other_group.show_progress(store::ClaimProgress{.id = "a", .phase = "denoise"});
  EXPECT_EQ(claimer.try_row(rows_[0], false).outcome, Outcome::held) << "the other group makes it";
  other_group.show_progress(std::nullopt);
  RunContext in_second_group = context_;
  in_second_group.place.group_index = 1;
  in_second_group.place.group_count = 2;
  EXPECT_EQ(RowClaimer(in_second_group, task_, claims).try_row(rows_[0], false).outcome, Outcome::held);

  rows_.resize(1);
  ItemQueue queue(rows_, context_, task_, claims);
  int looks = 0;
  const auto given_back_later = [&] {
    if (++looks == 3) looked_at.claim.reset();
    return looks > 100;
  };
  const auto claimed = queue.next(given_back_later);
  ASSERT_TRUE(claimed) << "the row is left, and nobody makes it";
  EXPECT_EQ(claimed->deaths.size(), 2U);
}

TEST_F(Rows, AStateIsPublishedOnlyByTheHolderOfTheClaim) {
  store::Claims claims = board("run-1");
  RowClaimer claimer(context_, task_, claims);
  ItemInHand item = take_in_hand(std::move(*claimer.try_row(rows_[0], false).claimed), context_, task_, 1);
  context_.checkpoint_interval_s = 0;
  StateSaver saver(context_);
  EXPECT_FALSE(saver.is_due(0, 4)) << "there is nothing to save yet";
  EXPECT_TRUE(saver.is_due(1, 4));
  const store::SavedStates states(context_.folder.states());
  const std::string& token = claims.owner().token;
  std::ofstream(states.temporary("a", token)) << 2;
  saver.publish(item, 2, token);
  EXPECT_EQ(saver.steps_saved(), 2);
  const auto saved = states.find("a", item.parameters, true);
  ASSERT_TRUE(saved);
  EXPECT_EQ(saved->steps_done, 2);

  std::ofstream(states.temporary("a", token)) << 3;
  std::ofstream(out_ / ".claims" / "a.claim.1") << "another owner's";
  EXPECT_THAT(test::message_of<Error>([&] { saver.publish(item, 3, token); }),
              HasSubstr("took the item over"));
  EXPECT_EQ(saver.steps_saved(), 2);
}

TEST_F(Rows, AnItemGoesBackToTheStateOfThisRunOnly) {
  store::Claims claims = board("run-1");
  RowClaimer claimer(context_, task_, claims);
  ItemInHand item = take_in_hand(std::move(*claimer.try_row(rows_[0], false).claimed), context_, task_, 1);
  go_back_to_saved(item, context_);
  EXPECT_FALSE(item.before);
  const store::SavedStates states(context_.folder.states());
  std::ofstream(states.temporary("a", claims.owner().token)) << 2;
  StateSaver(context_).publish(item, 2, claims.owner().token);
  RunContext other = context_;
  other.origin.run = "run-2";
  go_back_to_saved(item, other);
  EXPECT_FALSE(item.before);
  go_back_to_saved(item, context_);
  ASSERT_TRUE(item.before);
  EXPECT_EQ(item.before->steps_done, 2);
  EXPECT_THAT(item.resumed_at(), ::testing::ElementsAre(2));
}

}  // namespace
}  // namespace wan::batch
