#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "comm/mpi/ranks.h"

namespace wan::comm {

/// Where a rank runs, as it tells the others.
struct RankPlace {
  std::int32_t node = 0;  ///< number of the node; two ranks have the same number exactly if they share a node
  std::int32_t peers_allowed = 1;  ///< 0: this rank's environment forbids direct transfers between GPUs

  bool operator==(const RankPlace&) const = default;
};

/// Where every rank of the world runs. The table is the same on every rank, so decisions from it are the
/// same, too. It does not depend on how the launcher numbers the ranks (in blocks, in turn over the nodes, or
/// in another way).
class NodeMap {
 public:
  /// `places`: one for each rank of the world, in rank order.
  explicit NodeMap(std::vector<RankPlace> places) : places_(std::move(places)) {}

  /// Asks every rank. Collective over `world`, the communicator of `ranks`. Throws Error.
  static NodeMap gather(Communicator& world, const MpiRanks& ranks, bool peers_allowed);

  /// Whether all of these world ranks run on one node.
  bool are_on_one_node(std::span<const int> world_ranks) const;
  /// Whether they run on one node and all of them allow direct transfers between GPUs.
  bool can_reach_directly(std::span<const int> world_ranks) const;

  /// The ranks of the node that this world rank is on, ascending.
  std::vector<int> ranks_beside(int world_rank) const;
  /// Whether no two ranks share a node.
  bool ranks_are_alone() const;

  const std::vector<RankPlace>& places() const { return places_; }

 private:
  const RankPlace& place(int world_rank) const;

  std::vector<RankPlace> places_;
};

}  // namespace wan::comm
