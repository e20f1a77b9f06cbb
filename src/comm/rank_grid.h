#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace wan::comm {

/// How ranks are laid out: the world is groups of `group_size` ranks that are contiguous in rank order; a
/// group is copies x cfg x ulysses ranks, ulysses varying fastest, then cfg, then copy. More than one copy
/// means that ranks of a group do the same work (weights sharded over more ranks than compute with them).
struct GridShape {
  int group_size = 1;
  int cfg = 1;
  int ulysses = 1;

  int copies() const { return group_size / (cfg * ulysses); }
  bool operator==(const GridShape&) const = default;
};

/// Where a rank of the world stands in the grid; every field counts from 0.
struct GridPosition {
  int group = 0;
  int group_rank = 0;
  int copy = 0;
  int cfg = 0;
  int ulysses = 0;

  bool operator==(const GridPosition&) const = default;
};

/// Throws UsageError if the shape does not fit a world of that many ranks: sizes below 1, cfg above 2, a
/// group that is no multiple of cfg x ulysses, a world that is no multiple of the group.
void check_shape(const GridShape& shape, int world_size);

/// Throws Error on a shape that check_shape() refuses for every world, or a negative rank.
GridPosition position(const GridShape& shape, int world_rank);

// World ranks of the sub-groups that `world_rank` belongs to, ascending. Throw as position() does.
std::vector<int> group_members(const GridShape& shape, int world_rank);    ///< the shard group
std::vector<int> ulysses_members(const GridShape& shape, int world_rank);  ///< same copy and cfg
std::vector<int> cfg_members(const GridShape& shape, int world_rank);      ///< same copy and ulysses

/// Part `index` of [0, total) cut into `parts` ranges whose lengths differ by at most one:
/// [floor(total * index / parts), floor(total * (index + 1) / parts)). Throws Error unless total >= 0,
/// parts >= 1 and 0 <= index < parts.
std::pair<std::int64_t, std::int64_t> split_range(std::int64_t total, int parts, int index);

}  // namespace wan::comm
