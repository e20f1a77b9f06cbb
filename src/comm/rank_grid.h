#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace wan::comm {

/// The arrangement of ranks. The world consists of groups of `group_size` ranks, contiguous in rank order. A
/// group has copies x cfg x ulysses ranks: ulysses varies fastest, then cfg, then copy. With more than one
/// copy, several ranks of a group do the same work, because its weights are sharded over more ranks than
/// compute.
struct GridShape {
  int group_size = 1;
  int cfg = 1;
  int ulysses = 1;

  int copies() const { return group_size / (cfg * ulysses); }
  bool operator==(const GridShape&) const = default;
};

/// The place of a world rank in the grid. Every field counts from 0.
struct GridPosition {
  int group = 0;
  int group_rank = 0;
  int copy = 0;
  int cfg = 0;
  int ulysses = 0;

  bool operator==(const GridPosition&) const = default;
};

/// Throws UsageError if the shape does not fit a world of `world_size` ranks: sizes below 1, cfg above 2, a
/// group size that is not a multiple of cfg x ulysses, a world size that is not a multiple of the group size.
void check_shape(const GridShape& shape, int world_size);

/// Throws Error for a negative rank, or for a shape that check_shape() refuses for every world.
GridPosition position(const GridShape& shape, int world_rank);

// World ranks of the sub-groups that contain `world_rank`, ascending. They throw as position() does.
std::vector<int> group_members(const GridShape& shape, int world_rank);    ///< the group: weights, latents
std::vector<int> ulysses_members(const GridShape& shape, int world_rank);  ///< the same copy and cfg
std::vector<int> cfg_members(const GridShape& shape, int world_rank);      ///< the same copy and ulysses

/// The widths of teams of neighbouring groups, in groups, ascending: 2, 4, 8, ..., and all groups.
std::vector<int> team_widths(int groups);
/// The first group of the team of `width` groups around `group`. Nothing if there are too few groups after
/// it.
std::optional<int> first_of_team(int group, int width, int groups);

}  // namespace wan::comm
