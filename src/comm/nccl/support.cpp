#include "comm/nccl/support.h"

#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "comm/joint_call.h"
#include "comm/nccl/cuda_support.h"
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

ncclComm_t NcclCommHandle::release() noexcept { return std::exchange(comm_, nullptr); }

namespace {

/// Throws Error.
ncclComm_t connect_blocking(const ncclUniqueId& id, int ranks, int rank, int device,
                            const NcclOptions& options) {
  check_cuda(cudaSetDevice(device), "cudaSetDevice", "for the group");
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 1;
  if (options.max_ctas > 0) config.maxCTAs = options.max_ctas;
  if (options.copy_engines) config.CTAPolicy = NCCL_CTA_POLICY_ZERO;
  ncclComm_t comm = nullptr;
  const ncclResult_t code = ncclCommInitRankConfig(&comm, ranks, id, rank, &config);
  if (code != ncclSuccess) fail("{}", nccl_error_text(code, nullptr));
  return comm;
}

}  // namespace

// A communicator that NCCL calls non-blocking could be polled while it connects, but stays so for ever: NCCL
// then starts a thread for every single collective, and the caller has to wait for that thread before it may
// record an event. Instead a thread of our own blocks, once.
NcclCommHandle connect(const ncclUniqueId& id, const GroupIdentity& identity, Communicator& meeting,
                       const NcclOptions& options) {
  int device = 0;
  const cudaError_t known = cudaGetDevice(&device);
  const auto made = std::make_shared<ncclComm_t>(nullptr);
  const JointResult result = make_joint_call(
      meeting,
      {.what = fmt::format("{}: ncclCommInitRankConfig on device {}", identity.describe_rank(), device),
       .call =
           [=, ranks = identity.size(), rank = identity.rank] {
             check_cuda(known, "cudaGetDevice", "for the group");
             *made = connect_blocking(id, ranks, rank, device, options);
           },
       .timeout_s = options.init_timeout_s,
       .advice = "All ranks of the group meet over MPI: NCCL finds no way between them, or hangs on one; "
                 "NCCL_DEBUG=INFO shows which"});
  NcclCommHandle comm(*made);
  if (result.error) fail("{}", *result.error);
  return comm;
}

}  // namespace wan::comm
