#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "kernels/limits.h"

namespace wan::kernels {

// The inputs that the row kernels of kernels/cuda accept. Other inputs use ATen's operations, as on the CPU,
// with the same roundings. They are slower, but only models of toy size need them.

/// Whether the row kernels accept x [tokens, dim]: fp32, bf16 or fp16, dense rows, length a multiple
/// of row_multiple up to max_row, memory and distance between rows aligned to 16 bytes. Ignores the device.
bool fits_row_kernels(const at::Tensor& x);

/// Whether the kernel of norm_rotate_pack() accepts qkv [tokens, 3 * dim] and buffers [parts, tokens, 3,
/// heads of the chunk, head_dim].
bool fits_qkv_kernel(const at::Tensor& qkv, std::span<const at::Tensor> buffers);

/// Whether ATen's memory-efficient attention accepts heads of this size on a GPU: it loads 16 bytes at a
/// time.
bool fits_efficient_attention(at::ScalarType type, std::int64_t head_dim);

}  // namespace wan::kernels
