#include "comm/mpi/node_map.h"

#include <mpi.h>

#include <algorithm>

#include "comm/mpi/support.h"
#include "core/check.h"

namespace wan::comm {

NodeMap NodeMap::gather(Communicator& world, bool peers_allowed) {
  if (world.size() == 1) return NodeMap({{.node = 0, .peers_allowed = peers_allowed ? 1 : 0}});
  // A node is known by the lowest of its ranks.
  MPI_Comm node = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node),
            "MPI_Comm_split_type", "for the table of nodes");
  const CommHandle owner(node);
  std::int32_t lowest = world.rank();
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &lowest, 1, MPI_INT32_T, MPI_MIN, node), "MPI_Allreduce",
            "for the table of nodes");
  const RankPlace own{.node = lowest, .peers_allowed = peers_allowed ? 1 : 0};
  std::vector<RankPlace> places(static_cast<std::size_t>(world.size()));
  world.all_gather(std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(places))).wait();
  return NodeMap(std::move(places));
}

bool NodeMap::are_on_one_node(std::span<const int> world_ranks) const {
  return std::ranges::all_of(world_ranks,
                             [&](int rank) { return place(rank).node == place(world_ranks.front()).node; });
}

bool NodeMap::can_reach_directly(std::span<const int> world_ranks) const {
  return are_on_one_node(world_ranks) &&
         std::ranges::all_of(world_ranks, [&](int rank) { return place(rank).peers_allowed != 0; });
}

const RankPlace& NodeMap::place(int world_rank) const {
  WAN_CHECK(world_rank >= 0 && world_rank < static_cast<int>(places_.size()), "rank {} of a world of {}",
            world_rank, places_.size());
  return places_[static_cast<std::size_t>(world_rank)];
}

}  // namespace wan::comm
