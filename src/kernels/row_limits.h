#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "kernels/limits.h"

namespace wan::kernels {

// What the row kernels of kernels/cuda take. Whatever they do not take goes the way that the CPU goes,
// through ATen's operations, which have the same roundings: slower, and only models of toy size are affected.

/// Whether the row kernels take x [tokens, dim]: fp32 or bf16, rows dense, a multiple of row_multiple long
/// and up to max_row, memory and distance between rows aligned to 16 bytes. Does not look at the device.
bool fits_row_kernels(const at::Tensor& x);

/// Whether the kernel of norm_rotate_pack() takes these: qkv [tokens, 3 * dim] and buffers [parts, tokens, 3,
/// heads of the chunk, head_dim].
bool fits_qkv_kernel(const at::Tensor& qkv, std::span<const at::Tensor> buffers);

/// Whether ATen's memory-efficient attention takes heads of this size on a GPU: it loads 16 bytes at a time.
bool fits_efficient_attention(at::ScalarType type, std::int64_t head_dim);

}  // namespace wan::kernels
