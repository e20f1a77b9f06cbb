#include "comm/nccl_window.h"

#include <string>

#include "comm/nccl_support.h"

namespace wan::comm {
namespace {

struct Window {
  Window() = default;
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;
  ~Window() {
    // Of a group that has lost a call nobody knows what still writes here: the memory goes with the process.
    if (memory == nullptr || group->is_abandoned()) return;
    static_cast<void>(cudaDeviceSynchronize());
    if (handle != nullptr) static_cast<void>(ncclCommWindowDeregister(group->comm(), handle));
    static_cast<void>(ncclMemFree(memory));
  }

  std::shared_ptr<NcclGroup> group;
  void* memory = nullptr;
  ncclWindow_t handle = nullptr;
};

/// Whether all ranks have what this one `has` or not. Waits for the device.
bool all_have(const std::shared_ptr<NcclGroup>& group, bool has) {
  std::int32_t missing = has ? 0 : 1;
  NcclCall call(group, Operation::all_reduce, sizeof(missing));
  void* word = group->scratch(sizeof(missing));
  call.check(cudaMemcpyAsync(word, &missing, sizeof(missing), cudaMemcpyHostToDevice, group->stream()),
             "cudaMemcpyAsync");
  call.check(ncclAllReduce(word, word, 1, ncclInt32, ncclMax, group->comm(), group->stream()),
             "ncclAllReduce");
  call.check(cudaMemcpyAsync(&missing, word, sizeof(missing), cudaMemcpyDeviceToHost, group->stream()),
             "cudaMemcpyAsync");
  call.finish().wait();
  check_cuda(cudaStreamSynchronize(group->stream()), "cudaStreamSynchronize",
             "for " + group->identity().describe_rank());
  return missing == 0;
}

}  // namespace

std::shared_ptr<std::byte> allocate_window(std::shared_ptr<NcclGroup> group, std::size_t bytes) {
  auto window = std::make_shared<Window>();
  window->group = std::move(group);
  const bool has_memory = ncclMemAlloc(&window->memory, bytes) == ncclSuccess;
  if (!has_memory) {
    window->memory = nullptr;
    static_cast<void>(cudaGetLastError());  // or the next look at a kernel's launch would find it
  }
  if (!all_have(window->group, has_memory)) return nullptr;
  const ncclResult_t registered = ncclCommWindowRegister(window->group->comm(), window->memory, bytes,
                                                         &window->handle, NCCL_WIN_COLL_SYMMETRIC);
  if (registered != ncclSuccess) {
    window->handle = nullptr;
    return nullptr;
  }
  return {window, static_cast<std::byte*>(window->memory)};
}

}  // namespace wan::comm
