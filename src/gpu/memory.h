#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace wan::gpu {

/// GPU memory as the tensor library's allocator sees it.
struct MemoryUse {
  std::uint64_t allocated_bytes = 0;       ///< in tensors
  std::uint64_t reserved_bytes = 0;        ///< taken from the driver
  std::uint64_t peak_allocated_bytes = 0;  ///< since the last reset_peak()
};

MemoryUse memory_use(int device);
void reset_peak(int device);

/// Bytes in use on this thread's GPU by everybody, contexts and communication buffers included.
std::uint64_t used_bytes();

/// Whether this thread's GPU can give so much more. Takes it and gives it back.
bool has_room(std::int64_t bytes);

/// Gives memory that no tensor holds back to the driver. Waits for the GPU.
void release_unused();

/// Lets the allocator grow its segments in place instead of keeping a hole for every size that it has seen.
/// To be called before the first tensor is made.
void use_expandable_segments();

/// Page-locked host memory, which the GPU copies from and to at full speed and without holding up the host.
/// Exactly `shape`'s bytes are taken. Throws Error if the system refuses.
at::Tensor make_pinned(at::IntArrayRef shape, at::ScalarType type);

}  // namespace wan::gpu
