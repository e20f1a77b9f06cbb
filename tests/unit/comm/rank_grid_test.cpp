#include "comm/rank_grid.h"

#include <gmock/gmock.h>

#include "wan/error.h"

namespace wan::comm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string refusal(const GridShape& shape, int world_size) {
  try {
    check_shape(shape, world_size);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(RankGrid, UlyssesVariesFastestThenCfgThenCopy) {
  const GridShape shape{.group_size = 8, .cfg = 2, .ulysses = 2};
  EXPECT_EQ(shape.copies(), 2);
  EXPECT_EQ(position(shape, 0),
            (GridPosition{.group = 0, .group_rank = 0, .copy = 0, .cfg = 0, .ulysses = 0}));
  EXPECT_EQ(position(shape, 1),
            (GridPosition{.group = 0, .group_rank = 1, .copy = 0, .cfg = 0, .ulysses = 1}));
  EXPECT_EQ(position(shape, 2),
            (GridPosition{.group = 0, .group_rank = 2, .copy = 0, .cfg = 1, .ulysses = 0}));
  EXPECT_EQ(position(shape, 5),
            (GridPosition{.group = 0, .group_rank = 5, .copy = 1, .cfg = 0, .ulysses = 1}));
  EXPECT_EQ(position(shape, 15),
            (GridPosition{.group = 1, .group_rank = 7, .copy = 1, .cfg = 1, .ulysses = 1}));
}

TEST(RankGrid, MembersOfSubGroups) {
  const GridShape shape{.group_size = 8, .cfg = 2, .ulysses = 2};
  EXPECT_THAT(group_members(shape, 13), ElementsAre(8, 9, 10, 11, 12, 13, 14, 15));
  EXPECT_THAT(ulysses_members(shape, 13), ElementsAre(12, 13));
  EXPECT_THAT(cfg_members(shape, 13), ElementsAre(13, 15));
  EXPECT_THAT(cfg_members(shape, 8), ElementsAre(8, 10));
}

// Every rank is in its own sub-groups. All members of a sub-group have the same list, and the position's
// index counts along it.
TEST(RankGrid, SubGroupsPartitionTheWorldInEveryShape) {
  for (const int ulysses : {1, 2, 3, 4, 5}) {
    for (const int cfg : {1, 2}) {
      for (const int copies : {1, 2, 3}) {
        for (int rank = 0; rank < 2 * ulysses * cfg * copies; ++rank) {
          const GridShape shape{.group_size = ulysses * cfg * copies, .cfg = cfg, .ulysses = ulysses};
          const GridPosition at = position(shape, rank);
          EXPECT_EQ(group_members(shape, rank).at(static_cast<std::size_t>(at.group_rank)), rank);
          EXPECT_EQ(ulysses_members(shape, rank).at(static_cast<std::size_t>(at.ulysses)), rank);
          EXPECT_EQ(cfg_members(shape, rank).at(static_cast<std::size_t>(at.cfg)), rank);
          EXPECT_EQ(at.group * shape.group_size + (at.copy * cfg + at.cfg) * ulysses + at.ulysses, rank);
          for (const int other : ulysses_members(shape, rank))
            EXPECT_EQ(ulysses_members(shape, other), ulysses_members(shape, rank));
          for (const int other : cfg_members(shape, rank))
            EXPECT_EQ(cfg_members(shape, other), cfg_members(shape, rank));
        }
      }
    }
  }
}

TEST(RankGrid, RefusesWhatDoesNotFitAndSaysWhy) {
  EXPECT_EQ(refusal({.group_size = 4, .cfg = 2, .ulysses = 2}, 8), "accepted");
  EXPECT_THAT(refusal({.group_size = 4, .cfg = 2, .ulysses = 3}, 8), HasSubstr("not a multiple of cfg size"));
  EXPECT_THAT(refusal({.group_size = 4, .cfg = 2, .ulysses = 2}, 6),
              HasSubstr("6 ranks cannot be cut into groups of 4"));
  EXPECT_THAT(refusal({.group_size = 4, .cfg = 4, .ulysses = 1}, 4), HasSubstr("use 1 or 2"));
  EXPECT_THAT(refusal({.group_size = 0, .cfg = 1, .ulysses = 1}, 4), HasSubstr("at least 1"));
  EXPECT_THAT(refusal({.group_size = 4, .cfg = 1, .ulysses = 4}, 0), HasSubstr("cannot be cut"));
  EXPECT_THROW(position({.group_size = 3, .cfg = 2, .ulysses = 1}, 0), Error);
  EXPECT_THROW(position({.group_size = 1, .cfg = 1, .ulysses = 1}, -1), Error);
}

}  // namespace
}  // namespace wan::comm
