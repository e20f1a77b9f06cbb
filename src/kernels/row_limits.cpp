#include "kernels/row_limits.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace wan::kernels {
namespace {

constexpr std::uintptr_t alignment_bytes = 16;

bool is_aligned(const at::Tensor& x) {
  return reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % alignment_bytes == 0;
}

}  // namespace

bool fits_row_kernels(const at::Tensor& x) {
  const at::ScalarType type = x.scalar_type();
  const bool has_type = type == at::kFloat || type == at::kBFloat16 || type == at::kHalf;
  return has_type && x.dim() == 2 && x.size(1) > 0 && x.size(1) % row_multiple == 0 && x.size(1) <= max_row &&
         x.stride(1) == 1 && (x.size(0) <= 1 || x.stride(0) % row_multiple == 0) && is_aligned(x);
}

bool fits_qkv_kernel(const at::Tensor& qkv, std::span<const at::Tensor> buffers) {
  const std::int64_t head_dim = buffers.front().size(4);
  return head_dim % row_multiple == 0 && std::ssize(buffers) <= max_head_chunks &&
         fits_row_kernels(qkv.narrow(1, 0, qkv.size(1) / 3)) &&
         std::ranges::all_of(
             buffers, [](const at::Tensor& buffer) { return buffer.is_contiguous() && is_aligned(buffer); });
}

bool fits_efficient_attention(at::ScalarType type, std::int64_t head_dim) {
  return head_dim * static_cast<std::int64_t>(c10::elementSize(type)) %
             static_cast<std::int64_t>(alignment_bytes) ==
         0;
}

}  // namespace wan::kernels
