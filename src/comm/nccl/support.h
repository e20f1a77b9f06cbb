#pragma once

#include <nccl.h>

#include <string_view>

#include "comm/nccl/nccl.h"
#include "comm/watch/watchdog.h"

namespace wan::comm {

// Inside the NCCL backend only: the other headers of this folder do not show NCCL.

/// Throws Error with the call, NCCL's text for the code and for its last error, and where it happened, unless
/// `code` is ncclSuccess. `comm` may be null.
void check_nccl(ncclResult_t code, const char* call, ncclComm_t comm, std::string_view where);

/// "unhandled system error: <what NCCL says of its last error>"
std::string nccl_error_text(ncclResult_t code, ncclComm_t comm);

/// Owns a communicator. Destroys it, which is a matter of all its ranks; while an exception unwinds it aborts
/// it instead, which is not.
class NcclCommHandle {
 public:
  NcclCommHandle() = default;
  explicit NcclCommHandle(ncclComm_t comm) : comm_(comm) {}
  NcclCommHandle(NcclCommHandle&& other) noexcept;
  NcclCommHandle& operator=(NcclCommHandle&&) = delete;
  NcclCommHandle(const NcclCommHandle&) = delete;
  NcclCommHandle& operator=(const NcclCommHandle&) = delete;
  ~NcclCommHandle();

  ncclComm_t get() const { return comm_; }
  /// Ends whatever the group still runs on this device, and the group with it.
  void abort() noexcept;
  /// Gives up ownership: the communicator goes with the process.
  ncclComm_t release() noexcept;

 private:
  ncclComm_t comm_ = nullptr;
};

/// Connects this rank, on the current device, with the others of its group, which were given the same `id`;
/// `meeting` is the same group over MPI. Throws Error on all ranks alike, with what the lowest one that
/// failed says, also if that takes longer than `options.init_timeout_s`.
NcclCommHandle connect(const ncclUniqueId& id, const GroupIdentity& identity, Communicator& meeting,
                       const NcclOptions& options);

}  // namespace wan::comm
