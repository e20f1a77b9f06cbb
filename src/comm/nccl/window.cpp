#include "comm/nccl/window.h"

#include <array>
#include <string>

#include "comm/joint_call.h"
#include "comm/nccl/support.h"
#include "core/check.h"

namespace wan::comm {
namespace {

struct Window {
  Window() = default;
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;
  ~Window() {
    // If the group has lost a call, a transfer may still write here. The memory then stays until the process
    // ends.
    if (memory == nullptr || group->is_abandoned()) return;
    static_cast<void>(cudaDeviceSynchronize());
    if (handle != nullptr) static_cast<void>(ncclCommWindowDeregister(group->comm(), handle));
    static_cast<void>(ncclMemFree(memory));
  }

  std::shared_ptr<NcclGroup> group;
  void* memory = nullptr;
  ncclWindow_t handle = nullptr;
};

/// Whether all ranks agree: each one has the thing, or each one lacks it.
bool all_have(Communicator& meeting, bool has) {
  std::array<std::int64_t, 1> missing{has ? 0 : 1};
  meeting.all_reduce(std::span<std::int64_t>(missing), ReduceOp::sum).wait();
  return missing[0] == 0;
}

/// If registering fails on all ranks, the last one may fail this much later than the first.
constexpr double grace_s = 5;

JointResult register_on_all(NcclGroup& group, void* memory, std::size_t bytes,
                            const std::shared_ptr<ncclWindow_t>& handle) {
  int device = 0;
  const cudaError_t known = cudaGetDevice(&device);
  return make_joint_call(group.meeting(),
                         {.what = fmt::format("{}: registering {} bytes with NCCL (ncclCommWindowRegister)",
                                              group.identity().describe_rank(), bytes),
                          .call =
                              [=, comm = group.comm()] {
                                check_cuda(known, "cudaGetDevice", "for the group");
                                check_cuda(cudaSetDevice(device), "cudaSetDevice", "for the group");
                                const ncclResult_t code = ncclCommWindowRegister(
                                    comm, memory, bytes, handle.get(), NCCL_WIN_COLL_SYMMETRIC);
                                if (code != ncclSuccess) fail("{}", nccl_error_text(code, comm));
                              },
                          .timeout_s = group.timeout_s(),
                          .grace_s = grace_s,
                          .advice = "The ranks wait for each other inside NCCL; NCCL_DEBUG=WARN tells more"});
}

}  // namespace

// NCCL's ranks meet inside the registration, on their host threads. If it fails on one rank, the others would
// wait there for ever.
std::shared_ptr<std::byte> allocate_window(const std::shared_ptr<NcclGroup>& group, std::size_t bytes) {
  auto window = std::make_shared<Window>();
  window->group = group;
  const bool has_memory = ncclMemAlloc(&window->memory, bytes) == ncclSuccess;
  if (!has_memory) {
    window->memory = nullptr;
    static_cast<void>(cudaGetLastError());  // else the check after the next launch would find this error
  }
  if (!all_have(group->meeting(), has_memory)) return nullptr;
  const auto handle = std::make_shared<ncclWindow_t>(nullptr);
  try {
    const JointResult result = register_on_all(*group, window->memory, bytes, handle);
    if (!result.error) {
      window->handle = *handle;
      return {window, static_cast<std::byte*>(window->memory)};
    }
    static_cast<void>(cudaGetLastError());
    if (result.failed == group->identity().size()) return nullptr;  // this system cannot register such memory
    fail("{}", *result.error);
  } catch (const Error& error) {
    group->abandon_to_thread();
    fail(
        "{}; not all ranks of the group can use such memory. NCCL_P2P_DISABLE=1 avoids it, at the "
        "price of speed",
        error.what());
  }
}

}  // namespace wan::comm
