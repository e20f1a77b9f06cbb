#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "core/unique_handle.h"

namespace wan::comm {

// Only the NCCL backend includes this header. The handles belong to the device that is current at their
// construction. Their destructors ignore errors: the failed call has already reported them, and a destructor
// cannot repair them.

/// Throws Error with the call, CUDA's text and the place unless `code` is cudaSuccess.
void check_cuda(cudaError_t code, const char* call, std::string_view where);

struct StreamCloser {
  using Value = cudaStream_t;
  static constexpr cudaStream_t none() noexcept { return nullptr; }
  static void close(cudaStream_t stream) noexcept { cudaStreamDestroy(stream); }
};

struct MemoryCloser {
  using Value = void*;
  static constexpr void* none() noexcept { return nullptr; }
  static void close(void* memory) noexcept { cudaFree(memory); }
};

/// A stream of the highest priority that does not wait for the legacy default stream.
class CudaStream {
 public:
  CudaStream();

  cudaStream_t get() const { return stream_.get(); }

 private:
  UniqueHandle<StreamCloser> stream_;
};

/// Device memory.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(std::size_t bytes);

  void* data() const { return data_.get(); }
  std::size_t bytes() const { return bytes_; }

 private:
  UniqueHandle<MemoryCloser> data_;
  std::size_t bytes_ = 0;
};

/// An event in use. It returns to its pool when its last owner releases it.
using PooledEvent = std::shared_ptr<CUevent_st>;

/// A pool of events without timing. Any thread may release an event.
class EventPool : public std::enable_shared_from_this<EventPool> {
 public:
  EventPool() = default;
  EventPool(const EventPool&) = delete;
  EventPool& operator=(const EventPool&) = delete;
  ~EventPool();

  /// The pool must be owned by a shared_ptr. Throws Error.
  PooledEvent take();

 private:
  /// Called from destructors.
  void give_back(cudaEvent_t event) noexcept;

  std::mutex mutex_;
  std::vector<cudaEvent_t> free_;
};

}  // namespace wan::comm
