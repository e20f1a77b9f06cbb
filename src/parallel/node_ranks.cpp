#include "parallel/node_ranks.h"

#include <algorithm>

#include "core/check.h"

namespace wan::parallel {

WeightShare share_on_node(const std::vector<int>& node, int own, int group_size, bool is_sharded) {
  const auto part_of = [&](int world_rank) { return is_sharded ? world_rank % group_size : 0; };
  WeightShare share{.parts = is_sharded ? group_size : 1, .part = part_of(own), .readers = {}, .reader = -1};
  for (std::size_t at = 0; at < node.size(); ++at) {
    if (part_of(node[at]) != share.part) continue;
    if (node[at] == own) share.reader = share.reader_count();
    share.readers.push_back(static_cast<int>(at));
  }
  WAN_CHECK(share.reader >= 0, "rank {} is not among the ranks of its node", own);
  return share;
}

WeightShare share_alone(int rank, int group_size, bool is_sharded) {
  return {.parts = is_sharded ? group_size : 1, .part = is_sharded ? rank : 0, .readers = {0}, .reader = 0};
}

}  // namespace wan::parallel
