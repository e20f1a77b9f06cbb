#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace wan::parallel {

/// The ranks of one node while they read a checkpoint together.
struct NodeRanks {
  std::unique_ptr<comm::Communicator> host;  ///< for meetings, and for tensors in host memory
  std::unique_ptr<comm::Communicator> gpu;   ///< of the same ranks, for tensors on GPUs; null on the CPU
};

/// The part of a model's weights that a rank holds, and the ranks of its node that hold the same part. These
/// ranks divide the reading of it.
struct WeightShare {
  int parts = 1;
  int part = 0;
  std::vector<int> readers = {0};  ///< as ranks of NodeRanks::host, ascending
  int reader = 0;                  ///< this rank's place among `readers`

  int reader_count() const { return static_cast<int>(readers.size()); }
};

/// The share of world rank `own`. `node`: the world ranks of its node, in the order of NodeRanks::host.
/// `group_size`: consecutive world ranks that make a group. `is_sharded`: each rank of a group holds one part
/// of the weights; otherwise every rank holds all of them.
WeightShare share_on_node(const std::vector<int>& node, int own, int group_size, bool is_sharded);

/// The share of a rank that reads alone. `rank` and `group_size`: its place in its group.
WeightShare share_alone(int rank, int group_size, bool is_sharded);

}  // namespace wan::parallel
