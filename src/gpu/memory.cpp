#include "gpu/memory.h"

#include <ATen/ATen.h>
#include <c10/core/AllocatorConfig.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/util/Exception.h>

#include <cstdlib>

#include "gpu/cuda_check.h"

namespace wan::gpu {

MemoryUse memory_use(int device) {
  constexpr auto all = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(static_cast<c10::DeviceIndex>(device));
  return {.allocated_bytes = static_cast<std::uint64_t>(stats.allocated_bytes[all].current),
          .reserved_bytes = static_cast<std::uint64_t>(stats.reserved_bytes[all].current),
          .peak_allocated_bytes = static_cast<std::uint64_t>(stats.allocated_bytes[all].peak)};
}

void reset_peak(int device) {
  c10::cuda::CUDACachingAllocator::resetPeakStats(static_cast<c10::DeviceIndex>(device));
}

std::uint64_t used_bytes() {
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  WAN_CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
  return total_bytes - free_bytes;
}

bool has_room(std::int64_t bytes) {
  try {
    const at::Tensor taken = at::empty({bytes}, at::TensorOptions(at::kCUDA).dtype(at::kByte));
  } catch (const c10::OutOfMemoryError&) {
    return false;
  }
  release_unused();
  return true;
}

void release_unused() { c10::cuda::CUDACachingAllocator::emptyCache(); }

void use_expandable_segments() {
  // The user's settings of the allocator win.
  for (const char* name : {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"}) {
    if (std::getenv(name) != nullptr) return;  // NOLINT(concurrency-mt-unsafe): before any thread is made
  }
  c10::CachingAllocator::setAllocatorSettings("expandable_segments:True");
}

at::Tensor make_pinned(at::IntArrayRef shape, at::ScalarType type) {
  const auto bytes = static_cast<std::size_t>(c10::multiply_integers(shape)) * c10::elementSize(type);
  void* memory = nullptr;
  const cudaError_t code = cudaHostAlloc(&memory, std::max<std::size_t>(bytes, 1), cudaHostAllocDefault);
  if (code != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    fail(
        "cannot page-lock {:.1f} GB of host memory: {}; look at the memory limit of the job and at ulimit -l",
        static_cast<double>(bytes) / 1e9, cudaGetErrorString(code));
  }
  // The tensor library's own pinned allocator rounds up to powers of two. For weights that wastes gigabytes.
  const auto release = [](void* pinned) { static_cast<void>(cudaFreeHost(pinned)); };
  return at::from_blob(memory, shape, release, at::TensorOptions().dtype(type));
}

}  // namespace wan::gpu
