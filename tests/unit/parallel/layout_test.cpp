#include "parallel/layout.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/local.h"
#include "wan/error.h"

namespace wan::parallel {
namespace {

using comm::GridShape;
using testing::HasSubstr;

std::string refusal(const LayoutWishes& wishes, int world, std::int64_t heads, bool guided = true) {
  try {
    const GridShape shape = choose_grid(wishes, world, heads, guided);
    return "accepted " + describe(shape);
  } catch (const UsageError& error) {
    return error.what();
  }
}

TEST(ChooseGrid, PrefersGuidanceBeforeTheSequence) {
  EXPECT_EQ(choose_grid({}, 1, 40, true), (GridShape{1, 1, 1}));
  EXPECT_EQ(choose_grid({}, 2, 40, true), (GridShape{2, 2, 1}));
  EXPECT_EQ(choose_grid({}, 4, 40, true), (GridShape{4, 2, 2}));
  EXPECT_EQ(choose_grid({}, 8, 40, true), (GridShape{8, 2, 4}));
  EXPECT_EQ(choose_grid({}, 4, 40, false), (GridShape{4, 1, 4}));
}

TEST(ChooseGrid, UsesAllRanksWhereHeadsDoNotDivide) {
  EXPECT_EQ(choose_grid({}, 3, 40, true), (GridShape{3, 1, 3}));
  EXPECT_EQ(choose_grid({}, 5, 12, true), (GridShape{5, 1, 5}));
  EXPECT_EQ(choose_grid({}, 6, 40, true), (GridShape{6, 2, 3}));
  EXPECT_EQ(choose_grid({}, 7, 40, true), (GridShape{7, 1, 7}));
  EXPECT_EQ(choose_grid({}, 4, 3, true), (GridShape{4, 2, 2}));
  EXPECT_EQ(choose_grid({.cfg_size = 1}, 6, 40, true), (GridShape{6, 1, 6}));
}

TEST(ChooseGrid, TakesSmallerGroupsWhereRanksOutnumberHeads) {
  EXPECT_EQ(choose_grid({}, 5, 4, true), (GridShape{1, 1, 1}));  // 5 ranks have no two halves
  EXPECT_EQ(choose_grid({}, 8, 3, true), (GridShape{4, 2, 2}));
  EXPECT_EQ(choose_grid({}, 80, 40, true), (GridShape{80, 2, 40}));
  EXPECT_EQ(choose_grid({}, 82, 40, true), (GridShape{2, 2, 1}));
}

TEST(ChooseGrid, ThroughputTakesTheSmallestGroups) {
  EXPECT_EQ(choose_grid({.objective = Objective::throughput}, 4, 40, true), (GridShape{1, 1, 1}));
  EXPECT_EQ(choose_grid({.group_size = 2, .objective = Objective::throughput}, 4, 40, true),
            (GridShape{2, 2, 1}));
}

TEST(ChooseGrid, ObeysWishes) {
  EXPECT_EQ(choose_grid({.cfg_size = 1}, 4, 40, true), (GridShape{4, 1, 4}));
  EXPECT_EQ(choose_grid({.ulysses_size = 1}, 4, 40, true), (GridShape{2, 2, 1}));
  EXPECT_EQ(choose_grid({.group_size = 2, .cfg_size = 1}, 4, 40, true), (GridShape{2, 1, 2}));
  EXPECT_EQ(choose_grid({.cfg_size = 2, .ulysses_size = 2}, 8, 40, true), (GridShape{4, 2, 2}));
}

TEST(ChooseGrid, RefusesWithTheSizesThatWork) {
  EXPECT_EQ(refusal({.group_size = 3}, 4, 40),
            "group size 3 does not divide the number of ranks, 4; sizes that work: 1, 2, 4");
  EXPECT_EQ(
      refusal({.ulysses_size = 6}, 6, 4),
      "ulysses size 6: each rank needs one of the model's 4 attention heads at least; sizes that work on 6 "
      "ranks: 1, 2, 3");
  EXPECT_THAT(refusal({.ulysses_size = 0}, 3, 40), HasSubstr("sizes that work on 3 ranks: 1, 3"));
  EXPECT_THAT(refusal({.cfg_size = 3}, 3, 40), HasSubstr("sizes that work: 1, 2"));
  EXPECT_THAT(refusal({.cfg_size = 2}, 2, 40, false), HasSubstr("guidance scale 1"));
  EXPECT_THAT(refusal({.ulysses_size = 8}, 4, 40),
              HasSubstr("layouts that work: group size 1 cfg size 1 ulysses size 1;"));
  EXPECT_THAT(refusal({.group_size = 5}, 5, 4), HasSubstr("layouts that work"));
}

TEST(ChooseGrid, CallsTheWishesAsTheProgramDoes) {
  const LayoutWishNames names{.group_size = "--groups", .cfg_size = "--cfg", .ulysses_size = "--heads"};
  EXPECT_THAT(refusal({.group_size = 3, .names = names}, 4, 40), HasSubstr("--groups 3 does not divide"));
  EXPECT_THAT(refusal({.cfg_size = 2, .names = names}, 2, 40, false), HasSubstr("use --cfg 1"));
  EXPECT_THAT(refusal({.ulysses_size = 41, .names = names}, 41, 40),
              HasSubstr("--heads 41: each rank needs"));
  EXPECT_THAT(refusal({.ulysses_size = 8, .names = names}, 4, 40),
              HasSubstr("--groups 1 --cfg 1 --heads 1;"));
}

TEST(Role, NamesTheCommunicatorsOfAGroup) {
  std::vector<std::string> made;
  const auto make = [&](const std::vector<int>& members, Role role) {
    made.push_back(fmt::format("{} of {}", to_string(role), members.size()));
    return comm::make_local(to_string(role));
  };
  make_group_communicators({4, 2, 2}, {4, 1, 4}, 0, make);
  EXPECT_EQ(made, (std::vector<std::string>{"group of 4", "fsdp of 4", "vae of 4", "ulysses of 2", "cfg of 2",
                                            "ulysses of 4", "cfg of 1"}));
}

TEST(UnguidedShape, SpreadsTheSequenceOverTheWholeGroup) {
  EXPECT_EQ(unguided_shape({4, 2, 2}, {}, 40), (GridShape{4, 1, 4}));
  EXPECT_EQ(unguided_shape({6, 2, 3}, {}, 40), (GridShape{6, 1, 6}));
  EXPECT_EQ(unguided_shape({4, 2, 2}, {}, 3), (GridShape{4, 1, 2}));  // two ranks compute the same
  EXPECT_EQ(unguided_shape({4, 2, 2}, {}, 3).copies(), 2);
  EXPECT_EQ(unguided_shape({4, 2, 2}, {.ulysses_size = 2}, 40), (GridShape{4, 1, 2}));
}

TEST(TeamShape, NeedsAHeadForEachRankOfASequence) {
  EXPECT_EQ(choose_team_shape(6, 40)->guided, (GridShape{6, 2, 3}));
  EXPECT_EQ(choose_team_shape(6, 40)->unguided, (GridShape{6, 1, 6}));
  EXPECT_EQ(choose_team_shape(6, 3)->unguided, (GridShape{6, 1, 3}));
  EXPECT_FALSE(choose_team_shape(8, 3));
  EXPECT_EQ(choose_team_shape(3, 40)->guided, (GridShape{3, 1, 3}));
  EXPECT_EQ(choose_team_shape(3, 40)->unguided, (GridShape{3, 1, 3}));
  EXPECT_FALSE(choose_team_shape(5, 4));
}

}  // namespace
}  // namespace wan::parallel
