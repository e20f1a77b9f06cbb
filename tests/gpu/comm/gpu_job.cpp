#include "gpu/comm/gpu_job.h"

#include <cuda_runtime_api.h>
#include <mpi.h>

#include "comm/mpi/mpi.h"
#include "comm/nccl/cuda_support.h"

namespace wan::comm::test {
namespace {

// Made before GoogleTest starts.
const GpuJob& registered = gpu_job();

}  // namespace

GpuJob& gpu_job() {
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): GoogleTest owns it
  static testing::Environment* job = testing::AddGlobalTestEnvironment(new GpuJob);
  return static_cast<GpuJob&>(*job);
}

void GpuJob::SetUp() {
  const MpiEnvironment environment;
  int gpus = 0;
  if (cudaGetDeviceCount(&gpus) != cudaSuccess) gpus = 0;
  const int short_here = gpus < environment.local_size() ? 1 : 0;
  int short_anywhere = 0;
  MPI_Allreduce(&short_here, &short_anywhere, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  if (short_anywhere != 0)
    GTEST_SKIP() << "needs a GPU per rank: " << gpus << " for " << environment.local_size() << " ranks";
  check_cuda(cudaSetDevice(environment.local_rank()), "cudaSetDevice", "for the test");
  const auto world = make_mpi_world(environment);
  watchdog_ = std::make_shared<Watchdog>(environment, *world, WatchdogOptions{.end_job = end_process});
}

void GpuJob::TearDown() { watchdog_.reset(); }

}  // namespace wan::comm::test
