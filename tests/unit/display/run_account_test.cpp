#include "display/run_account.h"

#include <gmock/gmock.h>

#include <cmath>

#include "display/account_ledger.h"

namespace wan::display {
namespace {

using testing::HasSubstr;
using testing::Not;

PhaseEvent phase(const char* name, int rank, double start_s, double wall_s) {
  return {.phase = name, .start_s = start_s, .wall_s = wall_s, .world_rank = rank};
}

double seconds(const AccountLedger& ledger, int rank, TimeName name) {
  return ledger.times().at(rank)[static_cast<std::size_t>(name)].seconds;
}

StepEvent step(int rank, double wall_s) {
  StepEvent event{.world_rank = rank, .wall_s = wall_s};
  event.part_wall_s[static_cast<std::size_t>(Part::wait)] = 0.25;
  event.part_gpu_s.fill(std::nan(""));
  return event;
}

TEST(AccountLedger, NamesTheTimeBetweenStepsAndBetweenPhases) {
  AccountLedger ledger(0);
  ledger.begin_item();
  ledger.add_phase(phase("text", 0, 10, 1), true);
  ledger.add_step(step(0, 2));
  ledger.add_step(step(0, 2));
  ledger.add_phase(phase("denoise", 0, 11.5, 5), true);  // half a second after the text
  ledger.add_phase(phase("decode", 0, 16.5, 3), true);
  ledger.begin_item();
  ledger.add_phase(phase("text", 0, 30, 1), true);
  ledger.add_phase(phase("decode", 0, 33, 1), true);  // two seconds after the text
  EXPECT_DOUBLE_EQ(seconds(ledger, 0, TimeName::text), 2);
  EXPECT_DOUBLE_EQ(seconds(ledger, 0, TimeName::steps), 4);
  EXPECT_DOUBLE_EQ(seconds(ledger, 0, TimeName::between_steps), 1);
  EXPECT_DOUBLE_EQ(seconds(ledger, 0, TimeName::decode), 4);
  EXPECT_DOUBLE_EQ(seconds(ledger, 0, TimeName::between_phases), 2.5);
  EXPECT_DOUBLE_EQ(ledger.sums({}).part_s[static_cast<std::size_t>(Part::wait)], 0.5);
}

TEST(AccountLedger, CountsNoThreadAmongTheTimeOfARank) {
  AccountLedger ledger(0);
  PhaseEvent write = phase("write", 0, 5, 9);
  write.is_background = true;
  ledger.begin_item();
  ledger.add_phase(phase("write", 0, 4, 1), true);
  ledger.add_phase(write, true);
  EXPECT_DOUBLE_EQ(seconds(ledger, 0, TimeName::write), 1);
  EXPECT_DOUBLE_EQ(ledger.sums({}).writing_s, 9);
}

TEST(AccountLedger, DividesIdleTimeByWhatTheLeaderWaitsFor) {
  AccountLedger ledger(0);
  ledger.set_clock(1, 100);  // its clock shows 110 when that of the leader shows 10
  ledger.wait_for(batch::WaitFor::writer, 12);
  ledger.wait_for(batch::WaitFor::other_groups, 15);
  ledger.wait_for(batch::WaitFor::last_writing, 30);
  ledger.add_phase(phase("idle", 0, 10, 10), false);
  ledger.add_phase(phase("idle", 1, 110, 10), false);
  const auto waiting_s = ledger.sums({}).waiting_s;
  EXPECT_DOUBLE_EQ(waiting_s[static_cast<std::size_t>(batch::WaitFor::row)], 4);
  EXPECT_DOUBLE_EQ(waiting_s[static_cast<std::size_t>(batch::WaitFor::writer)], 6);
  EXPECT_DOUBLE_EQ(waiting_s[static_cast<std::size_t>(batch::WaitFor::other_groups)], 10);
  EXPECT_DOUBLE_EQ(waiting_s[static_cast<std::size_t>(batch::WaitFor::last_writing)], 0);
}

TEST(AccountLedger, AddsUpTheEnergyOfGpusThatTellTheirPower) {
  AccountLedger ledger(0);
  const std::vector<DeviceSample> samples{{.time_s = 1, .rank = 0, .power_w = 500},
                                          {.time_s = 2, .rank = 0, .power_w = 500},
                                          {.time_s = 4, .rank = 0, .power_w = 300},
                                          {.time_s = 4, .rank = 1}};
  ledger.add_samples(samples);
  EXPECT_DOUBLE_EQ(ledger.sums({0}).energy_j, 1100);
  EXPECT_EQ(ledger.sums({0}).unmetered, 0);
  EXPECT_EQ(ledger.sums({0, 1}).unmetered, 1);
}

/// Two ranks, 100 s each: 80 s of steps, 10 s of loading, 5 s idle, and the rest.
RunAccount small_account() {
  RunAccount account{.ranks = std::vector<RankTimes>(2), .wall_s = {100, 100}};
  for (RankTimes& rank : account.ranks) {
    rank[static_cast<std::size_t>(TimeName::steps)] = {.calls = 40, .seconds = 80};
    rank[static_cast<std::size_t>(TimeName::load)] = {.calls = 1, .seconds = 10};
    rank[static_cast<std::size_t>(TimeName::idle)] = {.calls = 3, .seconds = 5};
  }
  account.ranks[1][static_cast<std::size_t>(TimeName::steps)].seconds = 84;
  account.sums.waiting_s[static_cast<std::size_t>(batch::WaitFor::other_groups)] = 10;
  account.sums.items = 4;
  account.sums.video_s = 20.1;
  account.sums.energy_j = 4 * 3600 * 50.0;
  close_account(account);
  return account;
}

TEST(RunAccount, NamesAddUpToTheWallTime) {
  const RunAccount account = small_account();
  double sum = 0;
  for (std::size_t i = 0; i < time_name_count; ++i) sum += account.seconds(static_cast<TimeName>(i));
  EXPECT_DOUBLE_EQ(sum, account.total_s());
  EXPECT_DOUBLE_EQ(account.seconds(TimeName::other), 6);
}

TEST(RunAccount, SaysWhereTheTimeWentAndWhatCameOfIt) {
  const std::string text = account_text(small_account(), {});
  EXPECT_THAT(text, HasSubstr("2 ranks"));
  EXPECT_THAT(text, testing::ContainsRegex("steps +80 +80.00 +82.00 +84.00 +82.0\n"));
  EXPECT_THAT(text, testing::ContainsRegex("load +2 +10.00 +10.00 +10.00 +10.0\n"));
  EXPECT_THAT(text, HasSubstr("ranks idle 18.0 %: load 10.0 %, idle for other groups 5.0 %, other 3.0 %\n"));
  EXPECT_THAT(text,
              HasSubstr("made 4 items with 20.1 s of video: 72 items and 362 s of video per rank-hour\n"));
  EXPECT_THAT(text, Not(HasSubstr("decode")));  // there was none
  EXPECT_THAT(text, Not(HasSubstr("Wh")));      // a CPU's energy is not known
}

TEST(RunAccount, SpeaksOfGpusAndTheirEnergyOnGpus) {
  RunAccount account = small_account();
  account.on_gpu = true;
  const std::string text = account_text(account, {});
  EXPECT_THAT(text, HasSubstr("2 GPUs"));
  EXPECT_THAT(text, HasSubstr("per GPU-hour, 50 Wh per item\n"));
  account.sums.unmetered = 1;
  EXPECT_TRUE(std::isnan(account.wh_per_item()));
  EXPECT_THAT(account_text(account, {}), Not(HasSubstr("Wh")));
}

TEST(RunAccount, ShowsRatesWithThreeDigits) {
  RunAccount account = small_account();
  account.wall_s = {1000, 1007};
  EXPECT_THAT(account_text(account, {}), HasSubstr(": 7.17 items and 36.1 s of video per rank-hour\n"));
  account.wall_s = {1, 1.1};
  EXPECT_THAT(account_text(account, {}), HasSubstr(": 6857 items and "));
}

TEST(RunAccount, ShowsNotesAndNoFiguresOfItemsWithoutOne) {
  RunAccount account = small_account();
  account.sums.items = 0;
  const std::vector<Note> notes{{.kind = "load", .text = "start and loading take 60 %"}};
  const std::string text = account_text(account, notes);
  EXPECT_THAT(text, HasSubstr("note: start and loading take 60 %\n"));
  EXPECT_THAT(text, Not(HasSubstr("made")));
}

}  // namespace
}  // namespace wan::display
