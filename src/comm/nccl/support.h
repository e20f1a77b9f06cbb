#pragma once

#include <nccl.h>

#include <string_view>

#include "comm/nccl/nccl.h"
#include "comm/watch/watchdog.h"
#include "core/unique_handle.h"

namespace wan::comm {

// Only the NCCL backend includes this header: the other headers of this folder do not show NCCL.

/// Throws Error with the call, NCCL's texts for the code and for its last error, and the place, unless `code`
/// is ncclSuccess. `comm` may be null.
void check_nccl(ncclResult_t code, const char* call, ncclComm_t comm, std::string_view where);

/// "unhandled system error: <what NCCL says of its last error>"
std::string nccl_error_text(ncclResult_t code, ncclComm_t comm);

/// Destroys a communicator, which is collective. While an exception unwinds, aborts it instead, which is not.
struct NcclCommCloser {
  using Value = ncclComm_t;
  static constexpr ncclComm_t none() noexcept { return nullptr; }
  static void close(ncclComm_t comm) noexcept;
};

/// Owns a communicator.
class NcclCommHandle {
 public:
  NcclCommHandle() = default;
  explicit NcclCommHandle(ncclComm_t comm) : comm_(comm) {}

  ncclComm_t get() const { return comm_.get(); }
  /// Ends the communicator and every call of the group that still runs on this device.
  void abort() noexcept;
  /// Gives up ownership. The communicator then lives until the process ends.
  ncclComm_t release() noexcept { return comm_.release(); }

 private:
  UniqueHandle<NcclCommCloser> comm_;
};

/// Connects this rank, on the current device, with the others of its group, which got the same `id`.
/// `meeting` is the same group over MPI. Throws Error on all ranks, with the message of the lowest rank that
/// failed, also if connecting takes longer than `options.init_timeout_s`.
NcclCommHandle connect(const ncclUniqueId& id, const GroupIdentity& identity, Communicator& meeting,
                       const NcclOptions& options);

}  // namespace wan::comm
