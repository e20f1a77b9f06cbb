#include "parallel/weight_placement.h"

#include <gtest/gtest.h>

namespace wan::parallel {
namespace {

constexpr NetworkPlacement whole{};
constexpr NetworkPlacement sharded{Division::sharded};
constexpr NetworkPlacement whole_waiting{Division::whole, Residence::waits_on_host};
constexpr NetworkPlacement sharded_waiting{Division::sharded, Residence::waits_on_host};
constexpr NetworkPlacement whole_in_turns{Division::whole, Residence::takes_turns};
constexpr NetworkPlacement sharded_in_turns{Division::sharded, Residence::takes_turns};

TEST(WeightPlacement, IsEqualInEveryPartOrNot) {
  const WeightPlacement placement{.transformers = sharded, .text_encoder = sharded};
  WeightPlacement other = placement;
  EXPECT_EQ(other, placement);
  other.text_encoder.residence = Residence::read_when_needed;
  EXPECT_NE(other, placement);
  other = placement;
  other.transformers.division = Division::whole;
  EXPECT_NE(other, placement);
}

TEST(WeightPlacement, SaysWhereTheTransformersLie) {
  EXPECT_EQ(describe_transformers(whole), "whole");
  EXPECT_EQ(describe_transformers(sharded), "sharded");
  EXPECT_EQ(describe_transformers(whole_waiting), "one expert on the host");
  EXPECT_EQ(describe_transformers(sharded_waiting), "sharded, one expert on the host");
  EXPECT_EQ(describe_transformers(whole_waiting, 1), "on the host except for the steps");
  EXPECT_EQ(describe_transformers(whole_in_turns), "one expert at a time");
  EXPECT_EQ(describe_transformers(sharded_in_turns), "sharded, one expert at a time");
  EXPECT_EQ(describe_residence(sharded), "");
  EXPECT_EQ(describe_residence(sharded_waiting), "one expert on the host");
  EXPECT_EQ(describe_copies({}), "");
  EXPECT_EQ(describe_copies(sharded_in_turns), "") << "these are read from files";
  EXPECT_NE(describe_copies(sharded_waiting).find("last step of the other one"), std::string::npos);
  EXPECT_NE(describe_copies(whole_waiting, 1).find("first step of each item"), std::string::npos);
}

TEST(WeightPlacement, ALoneRankDividesNothing) {
  const WeightPlacement alone = for_group(leanest_placement, 1);
  EXPECT_EQ(alone.transformers, whole_waiting);
  EXPECT_EQ(alone.text_encoder, (NetworkPlacement{Division::whole, Residence::read_when_needed}));
  EXPECT_EQ(for_group(leanest_placement, 2), leanest_placement);
}

TEST(WeightPlacement, TheTextEncoderStaysOnlyWhereTheHostComputes) {
  EXPECT_EQ(text_encoder_residence(true, false), Residence::read_when_needed);
  EXPECT_EQ(text_encoder_residence(true, true), Residence::computes_on_host);
  EXPECT_EQ(text_encoder_residence(false, false), Residence::resident);
  EXPECT_EQ(text_encoder_residence(false, true), Residence::resident);
}

TEST(LeanerPlacement, DividesFirstThenMovesAnExpertThenStops) {
  const WeightPlacement start;
  const WeightPlacement divided = leaner_placement(start, leanest_placement);
  EXPECT_EQ(divided, (WeightPlacement{.transformers = sharded, .text_encoder = sharded}));
  EXPECT_EQ(describe_step(start, divided), "weights split over the group's ranks");
  const WeightPlacement moved = leaner_placement(divided, leanest_placement);
  EXPECT_EQ(moved, (WeightPlacement{.transformers = sharded_waiting, .text_encoder = sharded}));
  EXPECT_EQ(describe_step(divided, moved), "the expert not in use kept in host memory");
  EXPECT_EQ(leaner_placement(moved, leanest_placement), moved);
  EXPECT_EQ(describe_step(moved, moved), "");
}

TEST(LeanerPlacement, ATextEncoderStillWholeIsDividedBeforeAnExpertMoves) {
  const WeightPlacement start{.transformers = sharded, .text_encoder = whole};
  const WeightPlacement divided = leaner_placement(start, leanest_placement);
  EXPECT_EQ(divided, (WeightPlacement{.transformers = sharded, .text_encoder = sharded}));
  EXPECT_EQ(describe_step(start, divided), "weights split over the group's ranks");
}

TEST(LeanerPlacement, GoesNoFurtherThanItMay) {
  const WeightPlacement nothing;
  EXPECT_EQ(leaner_placement(nothing, nothing), nothing);
  const WeightPlacement text_only{.transformers = whole, .text_encoder = sharded};
  EXPECT_EQ(leaner_placement(nothing, text_only), text_only);
  EXPECT_EQ(leaner_placement(text_only, text_only), text_only);
  const WeightPlacement host_only{.transformers = whole_waiting, .text_encoder = whole};
  EXPECT_EQ(leaner_placement(nothing, host_only), host_only);
  // A placement that is leaner than necessary stays as it is.
  EXPECT_EQ(leaner_placement(leanest_placement, nothing), leanest_placement);
}

TEST(LeanerPlacement, ExpertsThatTakeTurnsGoOnDoingSo) {
  const WeightPlacement turns{.transformers = whole_in_turns, .text_encoder = whole};
  const WeightPlacement divided = leaner_placement(turns, leanest_placement);
  EXPECT_EQ(divided, (WeightPlacement{.transformers = sharded_in_turns, .text_encoder = sharded}));
  EXPECT_EQ(leaner_placement(divided, leanest_placement), divided);
}

TEST(TransformerPlacements, BeginWithTheFastestAndEndWithTheLeanest) {
  EXPECT_EQ(transformer_placements.front(), whole);
  EXPECT_EQ(transformer_placements.back(), sharded_in_turns);
}

}  // namespace
}  // namespace wan::parallel
