#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace wan::gpu {

/// GPU memory, as the tensor library's allocator counts it.
struct MemoryUse {
  std::uint64_t allocated_bytes = 0;       ///< bytes in tensors
  std::uint64_t reserved_bytes = 0;        ///< bytes taken from the driver
  std::uint64_t peak_allocated_bytes = 0;  ///< maximum since the last reset_peak()
};

MemoryUse memory_use(int device);
void reset_peak(int device);

/// Bytes in use on this thread's GPU by all processes, contexts and communication buffers included.
std::uint64_t used_bytes();

/// Whether this thread's GPU can give `bytes` more. Where little more is free, takes them and gives them
/// back.
bool has_room(std::int64_t bytes);

/// Returns memory that no tensor holds to the driver. Waits for the GPU.
void release_unused();

/// The same if little memory is free. Between the phases of an item this keeps what the next one needs, which
/// the driver would unmap and map again.
void release_where_scarce();

/// Lets the allocator grow its segments in place. Otherwise it keeps a hole for every size that it has seen.
/// Call it before the first tensor is made.
void use_expandable_segments();

/// Page-locked host memory. The GPU copies from and to it at full speed and does not block the host. Takes
/// exactly the bytes of `shape`. Throws Error if the system refuses.
at::Tensor make_pinned(at::IntArrayRef shape, at::ScalarType type);

}  // namespace wan::gpu
