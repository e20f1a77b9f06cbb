#include "comm/nccl/cuda_support.h"

#include <exception>

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
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, highest),
             "cudaStreamCreateWithPriority", "for a communication stream");
  stream_.reset(stream);
}

DeviceBuffer::DeviceBuffer(std::size_t bytes) : bytes_(bytes) {
  void* data = nullptr;
  check_cuda(cudaMalloc(&data, bytes), "cudaMalloc", fmt::format("for {} bytes of a communicator", bytes));
  data_.reset(data);
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
