#include <numeric>

#include "comm/nccl/nccl.h"
#include "gpu/comm/gpu_job.h"
#include "gpu/comm/staged_communicator.h"
#include "mpi/comm_backends.h"

namespace wan::comm::test {
namespace {

/// The same ranks over NCCL. They need the MPI communicator only to connect.
std::unique_ptr<Communicator> over_nccl(const std::unique_ptr<Communicator>& meeting) {
  std::vector<int> everyone(static_cast<std::size_t>(meeting->size()));
  std::iota(everyone.begin(), everyone.end(), 0);
  return make_staged([&](cudaStream_t compute_stream) {
    return make_nccl_group(*meeting, everyone, meeting->name(),
                           {.compute_stream = compute_stream,
                            .watchdog = gpu_job().watchdog(),
                            .timeout_s = patience_s,
                            .init_timeout_s = patience_s});
  });
}

}  // namespace

std::vector<Backend> backends() {
  return {{.name = "nccl", .wrap = over_nccl, .options = {.timeout_s = patience_s}}};
}

}  // namespace wan::comm::test
