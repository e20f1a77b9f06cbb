#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/run_device.h"
#include "apps/run_layout.h"
#include "comm/communicator.h"
#include "comm/mpi_environment.h"
#include "parallel/layout.h"

namespace wan::comm {
class Watchdog;
}

namespace wan::apps {

/// Makes the communicators of a run: MPI's for control messages, and for tensors MPI's on the CPU and NCCL's
/// on GPUs, which one watchdog looks after. Must outlive them.
class RunCommunicators {
 public:
  /// Collective over `world`, which must outlive this object.
  RunCommunicators(const comm::MpiEnvironment& mpi, comm::Communicator& world, const RunDevice& device);

  /// A group of ranks for control messages. Collective, like make_mpi_group().
  std::unique_ptr<comm::Communicator> make_control(const std::vector<int>& members, const std::string& name,
                                                   double timeout_s);

  /// Everything for one group of the layout. `timeout_s`: the longest that a collective inside a request may
  /// take. Collective over the world. Throws UsageError if NCCL cannot be initialised.
  parallel::GroupCommunicators make_group(const RunLayout& layout, double timeout_s);

 private:
  std::unique_ptr<comm::Communicator> make_for_tensors(const std::vector<int>& members,
                                                       const std::string& name, double timeout_s);

  const comm::MpiEnvironment& mpi_;
  comm::Communicator& world_;
  const RunDevice& device_;
  std::shared_ptr<comm::Watchdog> watchdog_;  ///< where there are GPUs to watch
};

}  // namespace wan::apps
