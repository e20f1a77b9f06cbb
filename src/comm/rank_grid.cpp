#include "comm/rank_grid.h"

#include "core/check.h"

namespace wan::comm {
namespace {

bool sizes_fit(const GridShape& shape) {
  if (shape.group_size < 1 || shape.cfg < 1 || shape.cfg > 2 || shape.ulysses < 1) return false;
  return shape.group_size % (std::int64_t{shape.cfg} * shape.ulysses) == 0;
}

/// World ranks first, first + stride, ...
std::vector<int> arithmetic_ranks(int first, int stride, int count) {
  std::vector<int> ranks(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) ranks[static_cast<std::size_t>(i)] = first + i * stride;
  return ranks;
}

}  // namespace

void check_shape(const GridShape& shape, int world_size) {
  if (shape.group_size < 1 || shape.cfg < 1 || shape.ulysses < 1) {
    fail<UsageError>("group size {}, cfg size {} and ulysses size {} must each be at least 1",
                     shape.group_size, shape.cfg, shape.ulysses);
  }
  if (shape.cfg > 2) {
    fail<UsageError>(
        "cfg size {} is more than there are passes per step (conditional, unconditional): use 1 "
        "or 2",
        shape.cfg);
  }
  if (!sizes_fit(shape)) {
    fail<UsageError>("group size {} is not a multiple of cfg size x ulysses size = {} x {}", shape.group_size,
                     shape.cfg, shape.ulysses);
  }
  if (world_size < shape.group_size || world_size % shape.group_size != 0) {
    fail<UsageError>(
        "{} ranks cannot be cut into groups of {}: start a multiple of {} ranks or choose a "
        "group size that divides {}",
        world_size, shape.group_size, shape.group_size, world_size);
  }
}

GridPosition position(const GridShape& shape, int world_rank) {
  WAN_CHECK(sizes_fit(shape), "group size {}, cfg {}, ulysses {}", shape.group_size, shape.cfg,
            shape.ulysses);
  WAN_CHECK(world_rank >= 0, "rank {}", world_rank);
  const int group_rank = world_rank % shape.group_size;
  return {.group = world_rank / shape.group_size,
          .group_rank = group_rank,
          .copy = group_rank / (shape.cfg * shape.ulysses),
          .cfg = group_rank / shape.ulysses % shape.cfg,
          .ulysses = group_rank % shape.ulysses};
}

std::vector<int> group_members(const GridShape& shape, int world_rank) {
  const GridPosition at = position(shape, world_rank);
  return arithmetic_ranks(world_rank - at.group_rank, 1, shape.group_size);
}

std::vector<int> ulysses_members(const GridShape& shape, int world_rank) {
  const GridPosition at = position(shape, world_rank);
  return arithmetic_ranks(world_rank - at.ulysses, 1, shape.ulysses);
}

std::vector<int> cfg_members(const GridShape& shape, int world_rank) {
  const GridPosition at = position(shape, world_rank);
  return arithmetic_ranks(world_rank - at.cfg * shape.ulysses, shape.ulysses, shape.cfg);
}

std::vector<int> team_widths(int groups) {
  std::vector<int> widths;
  for (int width = 2; width < groups; width *= 2) widths.push_back(width);
  if (groups > 1) widths.push_back(groups);
  return widths;
}

std::optional<int> first_of_team(int group, int width, int groups) {
  const int first = group / width * width;
  return first + width <= groups ? std::optional(first) : std::nullopt;
}

}  // namespace wan::comm
