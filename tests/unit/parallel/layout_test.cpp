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

TEST(ChooseGrid, PicksAnotherLayoutWhereHeadsDoNotDivide) {
  EXPECT_EQ(choose_grid({}, 3, 40, true), (GridShape{1, 1, 1}));  // 3 divides neither 2 passes nor 40 heads
  EXPECT_EQ(choose_grid({}, 3, 3, true), (GridShape{3, 1, 3}));
  EXPECT_EQ(choose_grid({}, 4, 3, true), (GridShape{2, 2, 1}));  // two groups of two
  EXPECT_EQ(choose_grid({}, 6, 3, true), (GridShape{6, 2, 3}));
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
  EXPECT_THAT(refusal({.ulysses_size = 3}, 3, 40),
              HasSubstr("does not divide the model's 40 attention heads; sizes that work on 3 ranks: 1, 2"));
  EXPECT_THAT(refusal({.cfg_size = 3}, 3, 40), HasSubstr("sizes that work: 1, 2"));
  EXPECT_THAT(refusal({.cfg_size = 2}, 2, 40, false), HasSubstr("guidance scale 1"));
  EXPECT_THAT(refusal({.ulysses_size = 8}, 4, 40),
              HasSubstr("layouts that work: group size 1 cfg size 1 ulysses size 1;"));
  EXPECT_THAT(refusal({.group_size = 3}, 3, 4), HasSubstr("layouts that work"));
}

TEST(ChooseGrid, CallsTheWishesAsTheProgramDoes) {
  const LayoutWishNames names{.group_size = "--groups", .cfg_size = "--cfg", .ulysses_size = "--heads"};
  EXPECT_THAT(refusal({.group_size = 3, .names = names}, 4, 40), HasSubstr("--groups 3 does not divide"));
  EXPECT_THAT(refusal({.cfg_size = 2, .names = names}, 2, 40, false), HasSubstr("use --cfg 1"));
  EXPECT_THAT(refusal({.ulysses_size = 3, .names = names}, 3, 40), HasSubstr("--heads 3 does not divide"));
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
  EXPECT_EQ(unguided_shape({2, 2, 1}, {}, 3), (GridShape{2, 1, 1}));  // both ranks compute the same
  EXPECT_EQ(unguided_shape({2, 2, 1}, {}, 3).copies(), 2);
  EXPECT_EQ(unguided_shape({4, 2, 2}, {.ulysses_size = 2}, 40), (GridShape{4, 1, 2}));
}

}  // namespace
}  // namespace wan::parallel
