#include "comm/mpi/node_map.h"

#include <gtest/gtest.h>

#include <vector>

#include "comm/rank_grid.h"
#include "wan/error.h"

namespace wan::comm {
namespace {

/// The world of a launcher that places `ranks` ranks on `nodes` nodes in turn.
NodeMap cyclic(int ranks, int nodes) {
  std::vector<RankPlace> places;
  for (int rank = 0; rank < ranks; ++rank) places.push_back({.node = rank % nodes});
  return NodeMap(places);
}

NodeMap in_blocks(int ranks, int nodes) {
  std::vector<RankPlace> places;
  for (int rank = 0; rank < ranks; ++rank)
    places.push_back({.node = rank / (ranks / nodes) * (ranks / nodes)});
  return NodeMap(places);
}

TEST(NodeMap, BlocksOfRanksLieOnOneNode) {
  const NodeMap map = in_blocks(8, 2);
  EXPECT_TRUE(map.are_on_one_node(std::vector{0, 1, 2, 3}));
  EXPECT_TRUE(map.are_on_one_node(std::vector{4, 5, 6, 7}));
  EXPECT_TRUE(map.are_on_one_node(std::vector{5}));
  EXPECT_FALSE(map.are_on_one_node(std::vector{2, 3, 4, 5}));
}

TEST(NodeMap, UnderCyclicPlacementNeighboursLieApart) {
  const NodeMap map = cyclic(8, 2);
  EXPECT_FALSE(map.are_on_one_node(std::vector{0, 1}));
  EXPECT_FALSE(map.are_on_one_node(std::vector{0, 1, 2, 3}));
  EXPECT_TRUE(map.are_on_one_node(std::vector{0, 2, 4, 6}));
  EXPECT_TRUE(map.are_on_one_node(std::vector{1, 3}));
}

/// Each rank once computed the answer from consecutive numbering. Rank 0 then said yes (ranks 0 to 3 are
/// those of the first node, with four on a node), and rank 1 of the same group said no.
TEST(NodeMap, GroupsOfTheGridUnderCyclicPlacement) {
  const GridShape shape{.group_size = 4, .cfg = 2, .ulysses = 2};
  const NodeMap two_nodes = cyclic(8, 2);
  for (int rank = 0; rank < 8; ++rank) {
    EXPECT_FALSE(two_nodes.are_on_one_node(group_members(shape, rank))) << rank;
    EXPECT_FALSE(two_nodes.are_on_one_node(ulysses_members(shape, rank))) << rank;
    EXPECT_TRUE(two_nodes.are_on_one_node(cfg_members(shape, rank))) << rank;  // every second rank
  }
}

TEST(NodeMap, NodesWithUnequalNumbersOfRanks) {
  const NodeMap map(std::vector<RankPlace>{{.node = 0}, {.node = 1}, {.node = 0}, {.node = 0}, {.node = 1}});
  EXPECT_TRUE(map.are_on_one_node(std::vector{0, 2, 3}));
  EXPECT_TRUE(map.are_on_one_node(std::vector{1, 4}));
  EXPECT_FALSE(map.are_on_one_node(std::vector{2, 3, 4}));
}

TEST(NodeMap, OneRankThatForbidsDirectAccessDecidesForItsGroup) {
  const NodeMap map(std::vector<RankPlace>{{.node = 0}, {.node = 0, .peers_allowed = 0}, {.node = 0}});
  EXPECT_TRUE(map.are_on_one_node(std::vector{0, 1}));
  EXPECT_FALSE(map.can_reach_directly(std::vector{0, 1}));
  EXPECT_TRUE(map.can_reach_directly(std::vector{0, 2}));
}

TEST(NodeMap, RefusesARankThatTheWorldDoesNotHave) {
  EXPECT_THROW(static_cast<void>(cyclic(4, 2).are_on_one_node(std::vector{0, 4})), Error);
}

}  // namespace
}  // namespace wan::comm
