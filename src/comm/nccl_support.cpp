#include "comm/nccl_support.h"

#include <chrono>
#include <exception>
#include <future>
#include <string>
#include <thread>
#include <utility>

#include "comm/cuda_support.h"
#include "core/check.h"

namespace wan::comm {

std::string nccl_error_text(ncclResult_t code, ncclComm_t comm) {
  const char* last = ncclGetLastError(comm);
  return fmt::format("{}{}{}", ncclGetErrorString(code), last != nullptr && *last != '\0' ? ": " : "",
                     last != nullptr ? last : "");
}

void check_nccl(ncclResult_t code, const char* call, ncclComm_t comm, std::string_view where) {
  if (code != ncclSuccess) fail("{} failed {}: {}", call, where, nccl_error_text(code, comm));
}

NcclCommHandle::NcclCommHandle(NcclCommHandle&& other) noexcept
    : comm_(std::exchange(other.comm_, nullptr)) {}

NcclCommHandle::~NcclCommHandle() {
  if (comm_ == nullptr) return;
  if (std::uncaught_exceptions() > 0) {
    abort();
  } else {
    ncclCommDestroy(comm_);
  }
}

void NcclCommHandle::abort() noexcept {
  if (comm_ != nullptr) ncclCommAbort(std::exchange(comm_, nullptr));
}

namespace {

struct Connection {
  ncclComm_t comm = nullptr;
  std::string error;
};

Connection connect_blocking(const ncclUniqueId& id, int ranks, int rank, int device,
                            const NcclOptions& options) {
  Connection made;
  const cudaError_t chosen = cudaSetDevice(device);
  if (chosen != cudaSuccess) {
    made.error = fmt::format("cudaSetDevice({}): {}", device, cudaGetErrorString(chosen));
    return made;
  }
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 1;
  if (options.max_ctas > 0) config.maxCTAs = options.max_ctas;
  if (options.copy_engines) config.CTAPolicy = NCCL_CTA_POLICY_ZERO;
  const ncclResult_t code = ncclCommInitRankConfig(&made.comm, ranks, id, rank, &config);
  if (code != ncclSuccess) made.error = nccl_error_text(code, nullptr);
  return made;
}

}  // namespace

// A communicator that NCCL calls non-blocking could be polled here, but stays so for ever: NCCL then starts a
// thread for every single collective, and the caller has to wait for that thread before it may record an
// event. Instead a thread of our own blocks, once. If it has to be given up, it is left to itself: the
// program is about to end.
NcclCommHandle connect(const ncclUniqueId& id, const GroupIdentity& identity, const NcclOptions& options) {
  const double timeout_s = options.init_timeout_s;
  int device = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice", fmt::format("for {}", identity.describe_rank()));
  std::packaged_task<Connection()> task([id, device, ranks = identity.size(), rank = identity.rank, options] {
    return connect_blocking(id, ranks, rank, device, options);
  });
  std::future<Connection> result = task.get_future();
  std::thread thread(std::move(task));
  if (result.wait_for(std::chrono::duration<double>(timeout_s)) != std::future_status::ready) {
    thread.detach();
    fail(
        "{}: ncclCommInitRankConfig on device {} timed out after {:g} s. All ranks of the group had met over "
        "MPI just before: one has died or hangs since, or NCCL finds no way between them; NCCL_DEBUG=INFO "
        "shows which",
        identity.describe_rank(), device, timeout_s);
  }
  thread.join();
  const Connection made = result.get();
  if (!made.error.empty()) {
    fail("{}: ncclCommInitRankConfig on device {} failed: {}", identity.describe_rank(), device, made.error);
  }
  return NcclCommHandle(made.comm);
}

}  // namespace wan::comm
