#include "parallel/layout.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/check.h"

namespace wan::parallel {
namespace {

std::vector<int> divisors(std::int64_t of, int at_most) {
  std::vector<int> result;
  for (int candidate = 1; candidate <= at_most; ++candidate) {
    if (of % candidate == 0) result.push_back(candidate);
  }
  return result;
}

int at_most(std::int64_t heads, int ranks) { return static_cast<int>(std::min<std::int64_t>(heads, ranks)); }

void check_wishes(const LayoutWishes& wishes, int world_size, std::int64_t heads, bool guided) {
  const LayoutWishNames& names = wishes.names;
  if (wishes.group_size && (*wishes.group_size < 1 || world_size % *wishes.group_size != 0)) {
    fail<UsageError>("{} {} does not divide the number of ranks, {}; sizes that work: {}", names.group_size,
                     *wishes.group_size, world_size, fmt::join(divisors(world_size, world_size), ", "));
  }
  if (wishes.cfg_size && *wishes.cfg_size != 1 && *wishes.cfg_size != 2) {
    fail<UsageError>("{} {}: guidance has two passes; sizes that work: 1, 2", names.cfg_size,
                     *wishes.cfg_size);
  }
  if (wishes.cfg_size == 2 && !guided) {
    fail<UsageError>("{} 2: with guidance scale 1 there is only one pass to compute; use {} 1",
                     names.cfg_size, names.cfg_size);
  }
  if (wishes.ulysses_size && (*wishes.ulysses_size < 1 || *wishes.ulysses_size > heads)) {
    fail<UsageError>(
        "{} {}: each rank needs one of the model's {} attention heads at least; sizes that work on {} "
        "rank{}: {}",
        names.ulysses_size, *wishes.ulysses_size, heads, world_size, world_size == 1 ? "" : "s",
        fmt::join(divisors(world_size, at_most(heads, world_size)), ", "));
  }
}

bool grants(const LayoutWishes& wishes, const comm::GridShape& shape) {
  return wishes.group_size.value_or(shape.group_size) == shape.group_size &&
         wishes.cfg_size.value_or(shape.cfg) == shape.cfg &&
         wishes.ulysses_size.value_or(shape.ulysses) == shape.ulysses;
}

std::string list_shapes(const std::vector<comm::GridShape>& shapes, const LayoutWishNames& names) {
  std::vector<std::string> lines;
  lines.reserve(shapes.size());
  for (const comm::GridShape& shape : shapes) {
    lines.push_back(fmt::format("{} {} {} {} {} {}", names.group_size, shape.group_size, names.cfg_size,
                                shape.cfg, names.ulysses_size, shape.ulysses));
  }
  return fmt::format("{}", fmt::join(lines, "; "));
}

}  // namespace

std::vector<comm::GridShape> possible_grids(int world_size, std::int64_t heads, bool guided) {
  std::vector<comm::GridShape> shapes;
  for (const int group_size : divisors(world_size, world_size)) {
    for (int cfg = 1; cfg <= (guided ? 2 : 1); ++cfg) {
      if (group_size % cfg == 0 && group_size / cfg <= heads) {
        shapes.push_back({.group_size = group_size, .cfg = cfg, .ulysses = group_size / cfg});
      }
    }
  }
  return shapes;
}

std::vector<comm::GridShape> granted_grids(const LayoutWishes& wishes, int world_size, std::int64_t heads,
                                           bool guided) {
  check_wishes(wishes, world_size, heads, guided);
  const std::vector<comm::GridShape> possible = possible_grids(world_size, heads, guided);
  std::vector<comm::GridShape> granted;
  std::ranges::copy_if(possible, std::back_inserter(granted),
                       [&](const comm::GridShape& shape) { return grants(wishes, shape); });
  if (granted.empty()) {
    fail<UsageError>(
        "no layout of {} rank{} and {} attention heads is the one asked for; layouts that work: {}",
        world_size, world_size == 1 ? "" : "s", heads, list_shapes(possible, wishes.names));
  }
  std::ranges::stable_sort(granted, {}, [&](const comm::GridShape& shape) {
    const int size_rank = wishes.objective == Objective::latency ? -shape.group_size : shape.group_size;
    return std::pair(size_rank, -shape.cfg);
  });
  return granted;
}

comm::GridShape choose_grid(const LayoutWishes& wishes, int world_size, std::int64_t heads, bool guided) {
  return granted_grids(wishes, world_size, heads, guided).front();
}

comm::GridShape unguided_shape(const comm::GridShape& shape, const LayoutWishes& wishes, std::int64_t heads) {
  comm::GridShape result{.group_size = shape.group_size, .cfg = 1, .ulysses = shape.ulysses};
  if (wishes.ulysses_size) return result;
  result.ulysses = divisors(shape.group_size, at_most(heads, shape.group_size)).back();
  return result;
}

std::string describe(const comm::GridShape& shape) {
  std::string text = fmt::format("cfg{} x ulysses{}", shape.cfg, shape.ulysses);
  if (shape.copies() > 1) text += fmt::format(" x {} copies", shape.copies());
  return text;
}

const char* to_string(Role role) {
  switch (role) {
    case Role::group:
      return "group";
    case Role::fsdp:
      return "fsdp";
    case Role::vae:
      return "vae";
    case Role::ulysses:
      return "ulysses";
    case Role::cfg:
      return "cfg";
  }
  return "unknown";
}

std::uint64_t GroupCommunicators::sent_bytes() const {
  std::uint64_t bytes = 0;
  for (const comm::Communicator* part : {group.get(), fsdp.get(), vae.get(), guided.ulysses.get(),
                                         guided.cfg.get(), unguided.ulysses.get(), unguided.cfg.get()}) {
    bytes += part->traffic().total_sent_bytes();
  }
  return bytes;
}

namespace {

PassCommunicators make_passes(const comm::GridShape& shape, int rank, const CommunicatorFactory& make) {
  return {.shape = shape,
          .position = comm::position(shape, rank),
          .ulysses = make(comm::ulysses_members(shape, rank), Role::ulysses),
          .cfg = make(comm::cfg_members(shape, rank), Role::cfg)};
}

}  // namespace

GroupCommunicators make_group_communicators(const comm::GridShape& guided, const comm::GridShape& unguided,
                                            int world_rank, const CommunicatorFactory& make) {
  const std::vector<int> members = comm::group_members(guided, world_rank);
  GroupCommunicators result;
  result.group = make(members, Role::group);
  result.fsdp = make(members, Role::fsdp);
  result.vae = make(members, Role::vae);
  result.guided = make_passes(guided, world_rank, make);
  result.unguided = make_passes(unguided, world_rank, make);
  result.world_rank = world_rank;
  return result;
}

GroupCommunicators make_team_communicators(const GroupCommunicators& base, const comm::GridShape& guided,
                                           const comm::GridShape& unguided, int team_rank,
                                           const CommunicatorFactory& make) {
  const std::vector<int> members = comm::group_members(guided, team_rank);
  GroupCommunicators result;
  result.group = make(members, Role::group);
  result.fsdp = base.fsdp;
  result.vae = make(members, Role::vae);
  result.guided = make_passes(guided, team_rank, make);
  result.unguided = make_passes(unguided, team_rank, make);
  result.world_rank = base.world_rank;
  return result;
}

std::optional<TeamShape> choose_team_shape(int ranks, std::int64_t heads) {
  const int cfg = ranks % 2 == 0 ? 2 : 1;
  const comm::GridShape guided{.group_size = ranks, .cfg = cfg, .ulysses = ranks / cfg};
  if (guided.ulysses > heads) return std::nullopt;
  return TeamShape{.guided = guided, .unguided = unguided_shape(guided, {}, heads)};
}

}  // namespace wan::parallel
