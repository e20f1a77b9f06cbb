#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

namespace wan::comm {

// Inside the NCCL backend only. The handles belong to the device that is current when they are made. Their
// destructors ignore errors: what failed has been reported where it happened, and cannot be mended here.

/// Throws Error with the call, CUDA's text and where it happened, unless `code` is cudaSuccess.
void check_cuda(cudaError_t code, const char* call, std::string_view where);

/// A stream of the highest priority that does not wait for the legacy default stream.
class CudaStream {
 public:
  CudaStream();
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  ~CudaStream();

  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// Device memory.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(std::size_t bytes);
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&&) = delete;
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer();

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// An event in use; goes back to its pool with its last owner.
using PooledEvent = std::shared_ptr<CUevent_st>;

/// Events without timing, used again and again. Any thread may let go of one.
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
