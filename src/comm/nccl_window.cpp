#include "comm/nccl_window.h"

#include <fmt/format.h>

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

}  // namespace

std::shared_ptr<std::byte> allocate_window(std::shared_ptr<NcclGroup> group, std::size_t bytes) {
  auto window = std::make_shared<Window>();
  window->group = std::move(group);
  const std::string where =
      fmt::format("for {} bytes of {}", bytes, window->group->identity().describe_rank());
  check_nccl(ncclMemAlloc(&window->memory, bytes), "ncclMemAlloc", window->group->comm(), where);
  const ncclResult_t registered = ncclCommWindowRegister(window->group->comm(), window->memory, bytes,
                                                         &window->handle, NCCL_WIN_COLL_SYMMETRIC);
  if (registered != ncclSuccess) {
    window->handle = nullptr;
    return nullptr;
  }
  return {window, static_cast<std::byte*>(window->memory)};
}

}  // namespace wan::comm
