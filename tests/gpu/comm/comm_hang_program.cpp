// Run by comm_hang_test.sh: the last rank stays away from a collective, and the others' watchdogs end the
// job.
//
//   comm_hang_program first|later      which call it stays away from: the first of all, or a later one

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <numeric>
#include <string_view>
#include <thread>
#include <vector>

#include "comm/mpi/mpi.h"
#include "comm/nccl/cuda_support.h"
#include "comm/nccl/nccl.h"

namespace wan::comm {
namespace {

constexpr int skipped = 77;
constexpr double timeout_s = 3;
constexpr std::size_t block_bytes = std::size_t{1} << 20;
constexpr int calls_before = 5;
constexpr std::chrono::seconds absence(60);

int stay_away(const MpiEnvironment& environment, int calls) {
  const auto world = make_mpi_world(environment);
  const auto watchdog =
      std::make_shared<Watchdog>(environment, *world, WatchdogOptions{.end_job = end_process});
  const CudaStream compute;
  std::vector<int> everyone(static_cast<std::size_t>(world->size()));
  std::iota(everyone.begin(), everyone.end(), 0);
  const auto group = make_nccl_group(
      *world, everyone, "ulysses",
      {.compute_stream = compute.get(), .watchdog = watchdog, .timeout_s = timeout_s, .init_timeout_s = 60});

  const DeviceBuffer send(block_bytes * everyone.size());
  const DeviceBuffer receive(send.bytes());
  const std::span<std::byte> from(static_cast<std::byte*>(send.data()), send.bytes());
  const std::span<std::byte> to(static_cast<std::byte*>(receive.data()), receive.bytes());
  for (int call = 0; call < calls; ++call) group->all_to_all(from, to).wait();
  check_cuda(cudaStreamSynchronize(compute.get()), "cudaStreamSynchronize", "before the call that hangs");

  if (world->rank() == world->size() - 1) {
    std::this_thread::sleep_for(absence);
    std::_Exit(0);
  }
  group->all_to_all(from, to).wait();
  check_cuda(cudaStreamSynchronize(compute.get()), "cudaStreamSynchronize", "in the call that hangs");
  fmt::print(stderr, "the collective came to an end without its last rank\n");
  return 0;
}

int run(std::string_view when) {
  const MpiEnvironment environment;
  int gpus = 0;
  if (cudaGetDeviceCount(&gpus) != cudaSuccess) gpus = 0;
  if (gpus < environment.local_size()) {
    if (environment.rank() == 0)
      fmt::print(stderr, "skipped: needs a GPU per rank: {} for {} ranks\n", gpus, environment.local_size());
    return skipped;
  }
  check_cuda(cudaSetDevice(environment.local_rank()), "cudaSetDevice", "at start");
  return stay_away(environment, when == "first" ? 0 : calls_before);
}

}  // namespace
}  // namespace wan::comm

int main(int argc, char** argv) {
  try {
    return wan::comm::run(argc > 1 ? argv[1] : "later");
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    wan::comm::MpiEnvironment::abort(1);
  }
}
