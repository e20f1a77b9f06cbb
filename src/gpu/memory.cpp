#include "gpu/memory.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/AllocatorConfig.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>

#include <cstdlib>

#include "gpu/cuda_check.h"

namespace wan::gpu {
namespace {

constexpr std::size_t least_mapped_bytes = std::size_t{64} << 20;

/// An allocation cannot fail if so much more than it asks for is free.
constexpr std::size_t certain_bytes = std::size_t{2} << 30;

/// So much must be free for what is not the allocator's: NCCL's windows and buffers, other contexts.
constexpr std::size_t scarce_bytes = std::size_t{16} << 30;

struct GpuMemory {
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
};

/// The memory of this thread's GPU.
GpuMemory gpu_memory() {
  GpuMemory memory;
  WAN_CUDA_CHECK(cudaMemGetInfo(&memory.free_bytes, &memory.total_bytes));
  return memory;
}

/// Memory of the system that all threads of LibTorch touch first, page-locked then. cudaHostAlloc() makes and
/// locks small pages in one thread: 2 GB/s for 9 to 19 (analysis/results/expert_switch_h200.md). Null if
/// anything refuses.
void* map_pinned(std::size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  static_cast<void>(madvise(memory, bytes, MADV_HUGEPAGE));  // where the system has them, they are faster
  constexpr std::int64_t page_bytes = 4096;
  constexpr std::int64_t pages_at_a_time = 4096;
  const std::int64_t pages = (static_cast<std::int64_t>(bytes) + page_bytes - 1) / page_bytes;
  at::parallel_for(0, pages, pages_at_a_time, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t page = first; page < end; ++page) static_cast<char*>(memory)[page * page_bytes] = 0;
  });
  if (cudaHostRegister(memory, bytes, cudaHostRegisterDefault) == cudaSuccess) return memory;
  static_cast<void>(cudaGetLastError());
  static_cast<void>(munmap(memory, bytes));
  return nullptr;
}

}  // namespace

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
  const GpuMemory memory = gpu_memory();
  return memory.total_bytes - memory.free_bytes;
}

bool has_room(std::int64_t bytes) {
  // To map and unmap gigabytes takes the driver milliseconds (analysis/results/scaling_2xh200.md).
  if (gpu_memory().free_bytes >= static_cast<std::size_t>(bytes) + certain_bytes) return true;
  try {
    const at::Tensor taken = at::empty({bytes}, at::TensorOptions(at::kCUDA).dtype(at::kByte));
  } catch (const c10::OutOfMemoryError&) {
    return false;
  }
  release_unused();
  return true;
}

void release_unused() { c10::cuda::CUDACachingAllocator::emptyCache(); }

void release_where_scarce() {
  if (gpu_memory().free_bytes < scarce_bytes) release_unused();
}

void use_expandable_segments() {
  // The user's settings of the allocator win.
  for (const char* name : {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"}) {
    if (std::getenv(name) != nullptr) return;  // NOLINT(concurrency-mt-unsafe): before any thread is made
  }
  c10::CachingAllocator::setAllocatorSettings("expandable_segments:True");
}

at::Tensor make_pinned(at::IntArrayRef shape, at::ScalarType type) {
  const auto bytes = static_cast<std::size_t>(c10::multiply_integers(shape)) * c10::elementSize(type);
  const at::TensorOptions options(type);
  if (void* const mapped = bytes < least_mapped_bytes ? nullptr : map_pinned(bytes)) {
    const auto unmap = [bytes](void* pinned) {
      static_cast<void>(cudaHostUnregister(pinned));
      static_cast<void>(munmap(pinned, bytes));
    };
    return at::from_blob(mapped, shape, unmap, options);
  }
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
  return at::from_blob(memory, shape, release, options);
}

}  // namespace wan::gpu
