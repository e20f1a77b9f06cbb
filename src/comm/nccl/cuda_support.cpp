#include "comm/nccl/cuda_support.h"

#include <exception>
#include <utility>

#include "core/check.h"

namespace wan::comm {

void check_cuda(cudaError_t code, const char* call, std::string_view where) {
  if (code != cudaSuccess)
    fail("{} failed {}: {} ({})", call, where, cudaGetErrorString(code), cudaGetErrorName(code));
}

CudaStream::CudaStream() {
  int lowest = 0;
  int highest = 0;
  check_cuda(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "cudaDeviceGetStreamPriorityRange",
             "for a communication stream");
  check_cuda(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, highest),
             "cudaStreamCreateWithPriority", "for a communication stream");
}

CudaStream::~CudaStream() { cudaStreamDestroy(stream_); }

DeviceBuffer::DeviceBuffer(std::size_t bytes) : bytes_(bytes) {
  check_cuda(cudaMalloc(&data_, bytes), "cudaMalloc", fmt::format("for {} bytes of a communicator", bytes));
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) cudaFree(data_);
}

EventPool::~EventPool() {
  for (cudaEvent_t event : free_) cudaEventDestroy(event);
}

PooledEvent EventPool::take() {
  cudaEvent_t event = nullptr;
  {
    const std::scoped_lock lock(mutex_);
    if (!free_.empty()) {
      event = free_.back();
      free_.pop_back();
    }
  }
  if (event == nullptr) {
    check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags",
               "for a collective");
  }
  return {event, [pool = shared_from_this()](cudaEvent_t used) { pool->give_back(used); }};
}

void EventPool::give_back(cudaEvent_t event) noexcept {
  try {
    const std::scoped_lock lock(mutex_);
    free_.push_back(event);
  } catch (const std::exception&) {  // no memory for the list
    cudaEventDestroy(event);
  }
}

}  // namespace wan::comm
