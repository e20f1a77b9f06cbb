#include "launch/run_communicators.h"

#include <numeric>

#include "comm/local.h"
#include "comm/mpi/mpi.h"
#include "comm/watch/watchdog.h"
#include "core/check.h"
#include "launch/agreement.h"
#include "launch/control_groups.h"
#ifdef WAN_WITH_CUDA
#include "comm/nccl/nccl.h"
#endif

namespace wan::launch {
namespace {

constexpr double init_timeout_s = 300;

#ifdef WAN_WITH_CUDA
std::unique_ptr<comm::Communicator> make_nccl(comm::Communicator& world, const std::vector<int>& members,
                                              const char* name, const NcclTraffic& traffic, double timeout_s,
                                              const std::shared_ptr<comm::Watchdog>& watchdog,
                                              bool reach_directly) {
  // The tensor library computes on CUDA's default stream.
  const comm::NcclOptions options{.compute_stream = nullptr,
                                  .watchdog = watchdog,
                                  .timeout_s = timeout_s,
                                  .init_timeout_s = init_timeout_s,
                                  .max_ctas = traffic.max_ctas,
                                  .copy_engines = reach_directly && traffic.carries_much};
  try {
    return comm::make_nccl_group(world, members, name, options);
  } catch (const Error& error) {
    fail<UsageError>(
        "NCCL cannot be initialised: {}; NCCL_DEBUG=WARN tells more. Usual causes: a small /dev/shm, no "
        "network interface that all nodes share, GPUs that a container hides from each other",
        error.what());
  }
}
#else
std::unique_ptr<comm::Communicator> make_nccl(comm::Communicator&, const std::vector<int>&, const char*,
                                              const NcclTraffic&, double,
                                              const std::shared_ptr<comm::Watchdog>&, bool) {
  fail("internal: GPU ranks in a build without CUDA");
}
#endif

}  // namespace

/// Only Ulysses waits for bandwidth: guidance exchanges one prediction a step, the VAE a few rows at a time,
/// and a block's weights have the time of a whole block to travel in.
NcclTraffic nccl_traffic(parallel::Role role) {
  constexpr int few = 4;
  constexpr int gathers = 16;
  switch (role) {
    case parallel::Role::ulysses:
      return {.max_ctas = 0, .carries_much = true};
    case parallel::Role::fsdp:
      return {.max_ctas = gathers, .carries_much = true};
    case parallel::Role::cfg:
    case parallel::Role::vae:
      return {.max_ctas = few, .carries_much = false};
    case parallel::Role::group:
      return {};
  }
  return {};
}

RunCommunicators::RunCommunicators(const comm::MpiRanks& ranks, comm::Communicator& world,
                                   const RunDevice& device, HangListener on_hang)
    : world_(world),
      device_(device),
      nodes_(comm::NodeMap::gather(world, ranks, !are_peers_switched_off())),
      everyone_(static_cast<std::size_t>(world.size())) {
  std::iota(everyone_.begin(), everyone_.end(), 0);
  if (device.compute.on_gpu() && world.size() > 1) {
    watchdog_ =
        std::make_shared<comm::Watchdog>(ranks, world, comm::WatchdogOptions{.end_job = std::move(on_hang)});
  }
}

std::unique_ptr<comm::Communicator> RunCommunicators::make_control(const std::vector<int>& members,
                                                                   const std::string& name,
                                                                   double timeout_s) {
  return make_control_group(world_, members, name, timeout_s);
}

std::unique_ptr<comm::Communicator> RunCommunicators::make_for_tensors(
    comm::Communicator& parent, const std::vector<int>& parent_world_ranks, const std::vector<int>& members,
    parallel::Role role, double timeout_s) {
  // All members of a group are in groups of one size, so all ranks come to the same choice. A rank alone
  // exchanges no tensors.
  if (!device_.compute.on_gpu() || members.size() == 1) {
    if (parent.size() == 1) return comm::make_local(to_string(role));
    return comm::make_mpi_group(parent, members, to_string(role), {.timeout_s = timeout_s});
  }
  // Out of the table that all ranks have, so that all members of a group come to the same answer.
  std::vector<int> world_ranks;
  world_ranks.reserve(members.size());
  for (const int member : members) {
    world_ranks.push_back(parent_world_ranks[static_cast<std::size_t>(member)]);
  }
  return make_nccl(parent, members, to_string(role), nccl_traffic(role), timeout_s, watchdog_,
                   nodes_.can_reach_directly(world_ranks));
}

parallel::GroupCommunicators RunCommunicators::make_group(const RunLayout& layout, double timeout_s) {
  const auto make = [&](const std::vector<int>& members, parallel::Role role) {
    std::unique_ptr<comm::Communicator> made;
    // A rank where NCCL fails must not leave the others waiting in the next group's beginning.
    agree(world_, [&] {
      made = role == parallel::Role::group ? make_control(members, to_string(role), timeout_s)
                                           : make_for_tensors(world_, everyone_, members, role, timeout_s);
    });
    return made;
  };
  return parallel::make_group_communicators(layout.guided, layout.unguided, world_.rank(), make);
}

std::vector<int> RunCommunicators::ranks_of_node() const { return nodes_.ranks_beside(world_.rank()); }

parallel::NodeRanks RunCommunicators::make_node(double timeout_s) {
  const std::vector<int> members = ranks_of_node();
  if (nodes_.ranks_are_alone()) return {};
  parallel::NodeRanks node{.host = make_control(members, "node", timeout_s), .gpu = nullptr};
  agree(world_, [&] {
    if (!device_.compute.on_gpu() || members.size() == 1) return;
    std::vector<int> all(members.size());
    std::iota(all.begin(), all.end(), 0);
    constexpr int passing_ctas = 16;
    node.gpu = make_nccl(*node.host, all, "node", {.max_ctas = passing_ctas}, timeout_s, watchdog_,
                         /*reach_directly=*/false);
  });
  if (members.size() == 1) return {};
  return node;
}

int RunCommunicators::prepare_teams(const RunLayout& layout, double timeout_s) {
  int widest = 1;
  const int group_size = layout.guided.group_size;
  const int groups = world_.size() / group_size;
  for (const int width : comm::team_widths(groups)) {
    const std::optional<int> first = comm::first_of_team(world_.rank() / group_size, width, groups);
    const bool is_complete = first.has_value();
    std::vector<int> members(static_cast<std::size_t>(is_complete ? width * group_size : 1));
    std::iota(members.begin(), members.end(), is_complete ? *first * group_size : world_.rank());
    auto team = make_control(members, fmt::format("team of {}", width), timeout_s);
    if (is_complete)
      teams_.insert_or_assign(width, Ranks{.control = std::move(team), .world_ranks = std::move(members)});
    widest = width;
  }
  return widest;
}

parallel::GroupCommunicators RunCommunicators::make_team(const parallel::GroupCommunicators& base, int width,
                                                         std::int64_t heads, double timeout_s) {
  const Ranks& ranks = teams_.at(width);
  comm::Communicator& team = *ranks.control;
  const auto make = [&](const std::vector<int>& members, parallel::Role role) {
    if (role != parallel::Role::group)
      return make_for_tensors(team, ranks.world_ranks, members, role, timeout_s);
    return comm::make_mpi_group(team, members, to_string(role), {.timeout_s = timeout_s});
  };
  const auto shape = parallel::choose_team_shape(team.size(), heads);
  WAN_CHECK(shape.has_value(), "no layout of {} ranks for {} heads", team.size(), heads);
  return parallel::make_team_communicators(base, shape->guided, shape->unguided, team.rank(), make);
}

}  // namespace wan::launch
