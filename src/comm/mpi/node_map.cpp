#include "comm/mpi/node_map.h"

#include <algorithm>
#include <set>

#include "core/check.h"

namespace wan::comm {

NodeMap NodeMap::gather(Communicator& world, const MpiRanks& ranks, bool peers_allowed) {
  const RankPlace own{.node = ranks.node(), .peers_allowed = peers_allowed ? 1 : 0};
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

std::vector<int> NodeMap::ranks_beside(int world_rank) const {
  std::vector<int> ranks;
  for (int rank = 0; rank < static_cast<int>(places_.size()); ++rank)
    if (place(rank).node == place(world_rank).node) ranks.push_back(rank);
  return ranks;
}

bool NodeMap::ranks_are_alone() const {
  std::set<std::int32_t> nodes;
  for (const RankPlace& place : places_) nodes.insert(place.node);
  return nodes.size() == places_.size();
}

const RankPlace& NodeMap::place(int world_rank) const {
  WAN_CHECK(world_rank >= 0 && world_rank < static_cast<int>(places_.size()), "rank {} of a world of {}",
            world_rank, places_.size());
  return places_[static_cast<std::size_t>(world_rank)];
}

}  // namespace wan::comm
