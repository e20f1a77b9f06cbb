#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/mpi/node_map.h"
#include "comm/mpi/ranks.h"
#include "launch/run_device.h"
#include "launch/run_layout.h"
#include "parallel/layout.h"
#include "parallel/node_ranks.h"

namespace wan::comm {
class Watchdog;
}

namespace wan::launch {

/// Hears on a thread of its own, on each rank that notices, why a collective of GPUs will not end. The ranks
/// inside it do not return: a program ends the process (comm::end_process).
using HangListener = std::function<void(const std::string& message)>;

/// The NCCL settings that a role's traffic needs.
struct NcclTraffic {
  int max_ctas = 0;           ///< thread blocks of one collective at the most; 0: NCCL decides
  bool carries_much = false;  ///< so much beside computing that the GPUs' copy engines should move it
};
NcclTraffic nccl_traffic(parallel::Role role);

/// Makes the communicators of a run: MPI's for control messages, and for tensors MPI's on the CPU and NCCL's
/// on GPUs, which one watchdog looks after. Must outlive them.
class RunCommunicators {
 public:
  /// Collective over `world`, the communicator of `ranks`, which must outlive this object, as `device` must.
  /// `on_hang`: hears of a collective of GPUs that hangs.
  RunCommunicators(const comm::MpiRanks& ranks, comm::Communicator& world, const RunDevice& device,
                   HangListener on_hang);

  /// A group of ranks for control messages. Collective, like make_mpi_group().
  std::unique_ptr<comm::Communicator> make_control(const std::vector<int>& members, const std::string& name,
                                                   double timeout_s);

  /// Everything for one group of the layout. `timeout_s`: the longest that a collective inside a request may
  /// take. Collective over the world. Throws AgreedError with exit code 2 if NCCL cannot be initialised.
  parallel::GroupCommunicators make_group(const RunLayout& layout, double timeout_s);

  /// World ranks on this rank's node, ascending.
  std::vector<int> ranks_of_node() const;
  /// The ranks of this node, for reading the checkpoint together; nothing in it where this rank is alone on
  /// its node. Collective over the world. Throws as make_group() does.
  parallel::NodeRanks make_node(double timeout_s);

  /// Prepares for teams of several groups: a control communicator for each that is complete. Collective
  /// over the world. Returns the width of the widest.
  int prepare_teams(const RunLayout& layout, double timeout_s);

  /// Everything for the team of `width` groups around this rank's group, whose own communicators are `base`.
  /// Collective over that team; on GPUs NCCL connects only then, so that a run that needs no team pays for
  /// none. Throws UsageError if NCCL cannot be initialised,
  /// on each rank for itself.
  parallel::GroupCommunicators make_team(const parallel::GroupCommunicators& base, int width,
                                         std::int64_t heads, double timeout_s);

 private:
  /// Ranks for control messages, and where they stand in the world.
  struct Ranks {
    std::unique_ptr<comm::Communicator> control;
    std::vector<int> world_ranks;
  };

  /// `members`: ranks of `parent`, whose own places in the world are `parent_world_ranks`.
  std::unique_ptr<comm::Communicator> make_for_tensors(comm::Communicator& parent,
                                                       const std::vector<int>& parent_world_ranks,
                                                       const std::vector<int>& members, parallel::Role role,
                                                       double timeout_s);

  comm::Communicator& world_;
  const RunDevice& device_;
  comm::NodeMap nodes_;
  std::vector<int> everyone_;                 ///< the ranks of the world
  std::shared_ptr<comm::Watchdog> watchdog_;  ///< where there are GPUs to watch
  std::map<int, Ranks> teams_;                ///< by width
};

}  // namespace wan::launch
