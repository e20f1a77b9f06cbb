#pragma once

#include <memory>

#include "comm/mpi/mpi.h"
#include "comm/watch/watchdog.h"
#include "gpu/device.h"
#include "launch/run_communicators.h"
#include "launch/run_device.h"
#include "mpi/engine_fixture.h"

namespace wan::test {

/// All ranks of this program with a GPU each, or no ranks if there are too few GPUs.
class GpuRanks {
 public:
  GpuRanks() : world_(comm::make_mpi_world(mpi_, {.timeout_s = 60})) {}

  static bool enough() {
    const comm::MpiEnvironment mpi;
    return gpu::visible_gpus().count >= mpi.local_size();
  }
  comm::Communicator& world() { return *world_; }
  int size() const { return mpi_.size(); }
  int rank() const { return mpi_.rank(); }

  launch::RunDevice device(launch::Precision precision) {
    launch::Options options;
    options.device = launch::Device::cuda;
    options.precision = precision;
    return launch::choose_device(*world_, mpi_, options);
  }

  std::unique_ptr<launch::RunCommunicators> communicators(const launch::RunDevice& device) {
    return std::make_unique<launch::RunCommunicators>(mpi_, *world_, device, comm::end_process);
  }

 private:
  comm::MpiEnvironment mpi_;
  std::unique_ptr<comm::Communicator> world_;
};

}  // namespace wan::test
