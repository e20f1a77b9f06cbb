#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "comm/mpi/ranks.h"

namespace wan::comm {

/// What a rank tells the others about the place that it runs at.
struct RankPlace {
  std::int32_t node = 0;           ///< a number that ranks have in common if and only if they share a node
  std::int32_t peers_allowed = 1;  ///< 0: this rank's environment forbids GPUs to reach each other directly

  bool operator==(const RankPlace&) const = default;
};

/// Where every rank of the world runs, the same table on every rank: what is decided from it, all ranks
/// decide alike, however the launcher has numbered them (in blocks, in turn over the nodes, or in any other
/// way).
class NodeMap {
 public:
  /// `places`: one for each rank of the world, in rank order.
  explicit NodeMap(std::vector<RankPlace> places) : places_(std::move(places)) {}

  /// Asks every rank. Collective over `world`, the communicator of `ranks`. Throws Error.
  static NodeMap gather(Communicator& world, const MpiRanks& ranks, bool peers_allowed);

  /// Whether all of these ranks of the world run on one node.
  bool are_on_one_node(std::span<const int> world_ranks) const;
  /// Whether they do, and all of them let GPUs reach each other directly.
  bool can_reach_directly(std::span<const int> world_ranks) const;

  const std::vector<RankPlace>& places() const { return places_; }

 private:
  const RankPlace& place(int world_rank) const;

  std::vector<RankPlace> places_;
};

}  // namespace wan::comm
