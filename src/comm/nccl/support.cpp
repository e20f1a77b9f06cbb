#include "comm/nccl/support.h"

#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "comm/communication_error.h"
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
  if (code != ncclSuccess)
    fail<CommunicationError>("{} failed {}: {}", call, where, nccl_error_text(code, comm));
}

void NcclCommCloser::close(ncclComm_t comm) noexcept {
  if (std::uncaught_exceptions() > 0) {
    ncclCommAbort(comm);
  } else {
    ncclCommDestroy(comm);
  }
}

void NcclCommHandle::abort() noexcept {
  if (comm_) ncclCommAbort(comm_.release());
}

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

// NCCL can connect a communicator without blocking, so that we could poll it. But such a communicator stays
// non-blocking: NCCL starts a thread for every collective, and the caller must wait for that thread before it
// records an event. Instead our own thread blocks, once.
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
       .advice = "All ranks of the group answer over MPI, but NCCL cannot connect them or hangs on one; "
                 "NCCL_DEBUG=INFO shows which"});
  NcclCommHandle comm(*made);
  if (result.error) fail("{}", *result.error);
  return comm;
}

}  // namespace wan::comm
