#include "apps/account_notes.h"

#include <gmock/gmock.h>

// Each note is provoked by one run, and silent in another that differs in the one thing that it is about.

namespace wan::apps {
namespace {

using display::RankTimes;
using display::TimeName;

using testing::HasSubstr;
using testing::IsEmpty;

constexpr double wall_s = 1000;

/// Four ranks in one group that only make steps; 8 items.
RunAccount steps_only(int ranks = 4) {
  RunAccount account{.ranks = std::vector<RankTimes>(static_cast<std::size_t>(ranks)),
                     .wall_s = std::vector<double>(static_cast<std::size_t>(ranks), wall_s)};
  for (RankTimes& rank : account.ranks)
    rank[static_cast<std::size_t>(TimeName::steps)] = {.calls = 100, .seconds = wall_s};
  account.sums.items = 8;
  return account;
}

/// Takes seconds of each rank's steps for another name.
void move_to(RunAccount& account, TimeName name, double seconds) {
  for (RankTimes& rank : account.ranks) {
    rank[static_cast<std::size_t>(TimeName::steps)].seconds -= seconds;
    rank[static_cast<std::size_t>(name)] = {.calls = 1, .seconds = seconds};
  }
}

void set_part(RunAccount& account, Part part, double share) {
  account.sums.part_s[static_cast<std::size_t>(part)] = share * account.total_s();
}

void set_waiting(RunAccount& account, batch::WaitFor what, double share) {
  account.sums.waiting_s[static_cast<std::size_t>(what)] = share * account.total_s();
}

constexpr RankDivision ulysses4{.group_size = 4, .cfg = 1, .ulysses = 4};
constexpr RankDivision cfg2_ulysses2{.group_size = 4, .cfg = 2, .ulysses = 2};
constexpr RankDivision alone{.group_size = 1};
constexpr RankDivision alone_offloaded{.group_size = 1, .is_offloaded = true};

std::vector<std::string> texts(const RunAccount& account, const AccountFacts& facts) {
  std::vector<std::string> found;
  for (const Note& note : account_notes(account, facts)) found.push_back(note.text);
  return found;
}

TEST(AccountNotes, CommunicationNamesTheLayoutWithLess) {
  RunAccount account = steps_only();
  set_part(account, Part::all_to_all, 0.07);
  const AccountFacts facts{.division = ulysses4, .others = {ulysses4, cfg2_ulysses2}};
  // (u - 1) / u^2 / cfg falls from 3/16 to 1/8: a third of the exchange is saved.
  const std::vector<Note> notes = account_notes(account, facts);
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_EQ(notes[0].kind, "communication");
  EXPECT_EQ(notes[0].text,
            "communication is 7.0 % of the steps: --cfg-size 2 --ulysses-size 2 would take about 2.3 % less");
  EXPECT_NEAR(notes[0].share, 0.07, 1e-9);
  EXPECT_NEAR(notes[0].gain, 0.07 / 3, 1e-9);
}

TEST(AccountNotes, CommunicationIsSilentBelowItsThresholdAndWithoutABetterLayout) {
  RunAccount little = steps_only();
  set_part(little, Part::all_to_all, 0.049);
  EXPECT_THAT(texts(little, {.division = ulysses4, .others = {cfg2_ulysses2}}), IsEmpty());
  RunAccount much = steps_only();
  set_part(much, Part::all_to_all, 0.2);
  EXPECT_THAT(texts(much, {.division = cfg2_ulysses2, .others = {cfg2_ulysses2, ulysses4}}), IsEmpty());
}

TEST(AccountNotes, CommunicationProposesSmallerGroupsOnlyForManyItems) {
  RunAccount account = steps_only();
  set_part(account, Part::wait, 0.06);
  const AccountFacts facts{.division = {.group_size = 4, .cfg = 2, .ulysses = 2}, .others = {alone}};
  EXPECT_THAT(texts(account, facts), testing::ElementsAre(HasSubstr("--group-size 1 --cfg-size 1")));
  account.sums.items = 7;  // fewer than two for each group of one rank
  EXPECT_THAT(texts(account, facts), IsEmpty());
}

TEST(AccountNotes, CommunicationDoesNotProposeExpertsOnTheHost) {
  RunAccount account = steps_only();
  set_part(account, Part::all_to_all, 0.2);
  EXPECT_THAT(texts(account, {.division = ulysses4, .others = {alone_offloaded}}), IsEmpty());
}

TEST(AccountNotes, WeightsThatAreGatheredCouldBeWhole) {
  RunAccount account = steps_only();
  set_part(account, Part::weight_gather, 0.08);
  RankDivision sharded = ulysses4;
  sharded.is_sharded = true;
  EXPECT_THAT(texts(account, {.division = sharded, .others = {ulysses4}}),
              testing::ElementsAre(HasSubstr("--dit-fsdp off would take about 8.0 % less")));
  EXPECT_THAT(texts(account, {.division = sharded, .others = {sharded}}), IsEmpty());
}

constexpr RankDivision ulysses6{.group_size = 6, .cfg = 1, .ulysses = 6};
constexpr RankDivision ulysses5{.group_size = 5, .cfg = 1, .ulysses = 5};
constexpr RankDivision ulysses8{.group_size = 8, .cfg = 1, .ulysses = 8};
constexpr RankDivision cfg2_ulysses4{.group_size = 8, .cfg = 2, .ulysses = 4};

/// 12 heads on 5 ranks: two ranks have 3 heads, and the exchange carries 3 for each rank.
TEST(AccountNotes, CommunicationDoesNotProposeUnevenHeadsThatCostMore) {
  RunAccount account = steps_only(30);
  account.sums.items = 100;
  set_part(account, Part::all_to_all, 0.4);
  set_part(account, Part::attention, 0.3);
  AccountFacts facts{.division = ulysses6, .others = {ulysses5}, .heads = 60};
  EXPECT_THAT(texts(account, facts),
              testing::ElementsAre(HasSubstr("--group-size 5 --ulysses-size 5 would take about 1.6 % less")));
  facts.heads = 12;
  EXPECT_THAT(texts(account, facts), IsEmpty());
}

/// 12 heads on 8 ranks: four of them have 2 heads and four 1, which wait for a third of the attention.
TEST(AccountNotes, EvenHeadsSaveTheWaitForTheRanksWithMost) {
  RunAccount account = steps_only(8);
  set_part(account, Part::all_to_all, 0.14);
  set_part(account, Part::attention, 0.3);
  const AccountFacts facts{.division = ulysses8, .others = {cfg2_ulysses4}, .heads = 12};
  const std::vector<Note> notes = account_notes(account, facts);
  ASSERT_EQ(notes.size(), 1U);
  // 0.3 x (16 / 12 - 1) waits; the other 0.04 falls from 7/64 x 16/12 to 3/16 / 2.
  EXPECT_NEAR(notes[0].gain, 0.14 - 0.04 * (3.0 / 32) / (7.0 / 64 * 16 / 12), 1e-9);
}

TEST(AccountNotes, WaitingForMoreHeadsIsNoMoreThanTheExchangesTook) {
  RunAccount account = steps_only(8);
  set_part(account, Part::all_to_all, 0.06);
  set_part(account, Part::attention, 0.3);
  const AccountFacts facts{.division = ulysses8, .others = {cfg2_ulysses4}, .heads = 12};
  EXPECT_NEAR(account_notes(account, facts).at(0).gain, 0.06, 1e-9);
}

TEST(AccountNotes, SmallerGroupsForTheVaeHaveNoLessEvenHeads) {
  RunAccount account = steps_only(30);
  account.sums.items = 100;
  move_to(account, TimeName::decode, 0.3 * wall_s);
  AccountFacts facts{.division = ulysses6, .others = {ulysses5}, .heads = 60, .vae_undivided = 0.5};
  EXPECT_THAT(texts(account, facts), testing::ElementsAre(HasSubstr("the VAE takes")));
  facts.heads = 12;
  EXPECT_THAT(texts(account, facts), IsEmpty());
}

TEST(AccountNotes, GroupsThatHoldBothExpertsHaveNoLessEvenHeads) {
  RunAccount account = steps_only();
  set_part(account, Part::host_copy, 0.06);
  AccountFacts facts{.division = alone_offloaded, .others = {ulysses5}, .heads = 60};
  EXPECT_THAT(texts(account, facts), testing::ElementsAre(HasSubstr("--offload-model off")));
  facts.heads = 12;
  EXPECT_THAT(texts(account, facts), IsEmpty());
}

/// All ranks wait for those with the most heads, so that these ranks' attention is what a faster kernel
/// saves.
TEST(AccountNotes, AFasterKernelSavesTheAttentionOfTheRanksWithMost) {
  RunAccount account = steps_only(8);
  set_part(account, Part::attention, 0.3);
  AccountFacts facts{.division = ulysses8, .heads = 12};
  facts.fallback = {.backend = "cudnn", .change = "a build with FlashInfer", .saved = 0.1};
  EXPECT_NEAR(account_notes(account, facts).at(0).gain, 0.3 * 16 / 12 * 0.1, 1e-9);
}

TEST(AccountNotes, VaeSaysWhatSmallerGroupsSave) {
  RunAccount account = steps_only();
  move_to(account, TimeName::decode, 0.12 * wall_s);
  AccountFacts facts{.division = ulysses4, .others = {alone}, .vae_undivided = 0.1};
  // 0.1 x 4 + 0.9 = 1.3 rank-seconds on four for 1 on one.
  EXPECT_THAT(texts(account, facts), testing::ElementsAre(HasSubstr("the VAE takes 12.0 %: --group-size 1")));
  EXPECT_NEAR(account_notes(account, facts)[0].gain, 0.12 * (1 - 1 / 1.3), 1e-9);
  facts.vae_undivided.reset();  // not measured on such a device
  EXPECT_THAT(texts(account, facts), IsEmpty());
  RunAccount little = steps_only();
  move_to(little, TimeName::decode, 0.09 * wall_s);
  EXPECT_THAT(texts(little, {.division = ulysses4, .others = {alone}, .vae_undivided = 0.5}), IsEmpty());
}

TEST(AccountNotes, IdleGroupsNameTheNumberThatIsEnough) {
  RunAccount account = steps_only();
  account.sums.items = 5;  // on four groups: two rounds, as on three
  set_waiting(account, batch::WaitFor::other_groups, 0.3);
  const AccountFacts facts{.division = alone};
  EXPECT_THAT(texts(account, facts),
              testing::ElementsAre(
                  "ranks idle 30.0 % while other groups make the last items: 3 ranks would make these "
                  "5 items in about the same time, with 25.0 % fewer rank-hours"));
  account.sums.items = 8;  // two for each: nothing is to be changed
  EXPECT_THAT(texts(account, facts), IsEmpty());
  account.sums.items = 5;
  set_waiting(account, batch::WaitFor::other_groups, 0.049);
  EXPECT_THAT(texts(account, facts), IsEmpty());
}

TEST(AccountNotes, IdleGroupsThatMayNotHelpAreToldToHelp) {
  RunAccount account = steps_only();
  set_waiting(account, batch::WaitFor::other_groups, 0.06);
  EXPECT_THAT(texts(account, {.division = alone, .joins_groups = false}),
              testing::ElementsAre(HasSubstr("--join-groups on")));
  EXPECT_THAT(texts(account, {.division = alone, .joins_groups = true}), IsEmpty());
}

TEST(AccountNotes, WritingWithoutThreads) {
  RunAccount account = steps_only();
  move_to(account, TimeName::write, 0.03 * wall_s);
  EXPECT_THAT(texts(account, {.division = ulysses4, .writers = 0}),
              testing::ElementsAre(HasSubstr("ranks wait 3.0 % for the writing of videos: --writers 1")));
  EXPECT_THAT(texts(account, {.division = ulysses4, .writers = 1}), IsEmpty());
  RunAccount little = steps_only();
  move_to(little, TimeName::write, 0.019 * wall_s);
  EXPECT_THAT(texts(little, {.division = ulysses4, .writers = 0}), IsEmpty());
}

TEST(AccountNotes, TooFewThreadsThatWrite) {
  RunAccount account = steps_only();
  account.sums.writing_s =
      2.5 * wall_s;  // as much as two and a half threads do while one group makes the items
  set_waiting(account, batch::WaitFor::writer, 0.1);
  EXPECT_THAT(
      texts(account, {.division = ulysses4, .writers = 1}),
      testing::ElementsAre(HasSubstr("ranks wait 10.0 % for a thread that writes videos: --writers 3")));
  set_waiting(account, batch::WaitFor::writer, 0.019);
  EXPECT_THAT(texts(account, {.division = ulysses4, .writers = 1}), IsEmpty());
}

TEST(AccountNotes, LoadingForFewItems) {
  RunAccount account = steps_only();
  move_to(account, TimeName::load, 0.2 * wall_s);
  EXPECT_THAT(texts(account, {.division = ulysses4}),
              testing::ElementsAre(
                  "start and loading take 20.0 %: twice as many rows in one start (16 in place of 8) "
                  "would take about 10.0 % less for each"));
  RunAccount little = steps_only();
  move_to(little, TimeName::load, 0.09 * wall_s);
  EXPECT_THAT(texts(little, {.division = ulysses4}), IsEmpty());
}

TEST(AccountNotes, ExpertsOnTheHost) {
  RunAccount account = steps_only();
  set_part(account, Part::host_copy, 0.05);
  constexpr RankDivision pair{.group_size = 2, .cfg = 2, .is_sharded = true};
  EXPECT_THAT(
      texts(account, {.division = alone_offloaded, .others = {alone_offloaded, pair}}),
      testing::ElementsAre(HasSubstr("--group-size 2 --cfg-size 2 --dit-fsdp on --offload-model off")));
  EXPECT_THAT(texts(account, {.division = alone_offloaded, .others = {alone_offloaded}}), IsEmpty());
  set_part(account, Part::host_copy, 0.02);
  EXPECT_THAT(texts(account, {.division = alone_offloaded, .others = {alone_offloaded, pair}}), IsEmpty());
}

TEST(AccountNotes, AttentionThatFellBack) {
  RunAccount account = steps_only();
  account.on_gpu = true;
  set_part(account, Part::attention, 0.5);
  AccountFacts facts{.division = ulysses4,
                     .fallback = AccountFacts::Fallback{
                         .backend = "cudnn", .change = "a build with FlashInfer", .saved = 0.125}};
  EXPECT_THAT(texts(account, facts),
              testing::ElementsAre(
                  "attention takes 50.0 % and fell back to cudnn: a build with FlashInfer would take "
                  "about 6.2 % less"));
  facts.fallback.reset();
  EXPECT_THAT(texts(account, facts), IsEmpty());
}

TEST(AccountNotes, TheOneThatSavesMostComesFirst) {
  RunAccount account = steps_only();
  move_to(account, TimeName::load, 0.12 * wall_s);
  move_to(account, TimeName::write, 0.2 * wall_s);
  const std::vector<Note> notes = account_notes(account, {.division = ulysses4, .writers = 0});
  ASSERT_EQ(notes.size(), 2U);
  EXPECT_EQ(notes[0].kind, "writing");
  EXPECT_EQ(notes[1].kind, "load");
}

}  // namespace
}  // namespace wan::apps
