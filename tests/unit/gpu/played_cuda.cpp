// A CUDA runtime with one GPU that computes nothing. A program that links it uses these functions instead of
// libcudart's. Events are always done; memory is the host's.
#include "unit/gpu/played_cuda.h"

#include <cstdlib>

namespace wan::gpu::test {
namespace {

cudaError_t played_error = cudaSuccess;

}  // namespace

void set_played_error(cudaError_t error) { played_error = error; }

}  // namespace wan::gpu::test

using wan::gpu::test::played_error;

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int /*device*/) { return played_error; }

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

// NOLINTBEGIN(cppcoreguidelines-owning-memory): the handles of C are raw pointers
cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned /*flags*/) {
  *memory = std::malloc(bytes);
  return *memory != nullptr ? played_error : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  return played_error;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) {
  *event = static_cast<cudaEvent_t>(std::malloc(1));
  return played_error;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  std::free(event);
  return played_error;
}

// NOLINTEND(cppcoreguidelines-owning-memory)

cudaError_t cudaEventRecord(cudaEvent_t /*event*/, cudaStream_t /*stream*/) { return played_error; }

cudaError_t cudaEventSynchronize(cudaEvent_t /*event*/) { return played_error; }

cudaError_t cudaEventElapsedTime(float* elapsed_ms, cudaEvent_t /*begin*/, cudaEvent_t /*end*/) {
  *elapsed_ms = 1;
  return played_error;
}

}  // extern "C"
