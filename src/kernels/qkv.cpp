#include "kernels/qkv.h"

#include <ATen/ATen.h>

#include <array>

#include "core/check.h"
#include "kernels/cuda/qkv.h"
#include "kernels/device.h"
#include "kernels/normalization.h"
#include "kernels/row_limits.h"

namespace wan::kernels {
namespace {

void check_shapes(const at::Tensor& qkv, const RotaryTable& table, std::span<const at::Tensor> buffers) {
  WAN_CHECK(!buffers.empty() && buffers.front().dim() == 5, "no buffers [parts, tokens, 3, heads, head_dim]");
  const at::Tensor& first = buffers.front();
  std::int64_t heads_per_part = 0;
  for (const at::Tensor& buffer : buffers) {
    WAN_CHECK(buffer.dim() == 5 && buffer.size(0) == first.size(0) && buffer.size(1) == first.size(1) &&
                  buffer.size(2) == 3 && buffer.size(4) == first.size(4) &&
                  buffer.scalar_type() == qkv.scalar_type(),
              "the chunks' buffers differ in more than their heads");
    heads_per_part += buffer.size(3);
  }
  WAN_CHECK(first.size(1) == qkv.size(0) && 3 * first.size(0) * heads_per_part * first.size(4) == qkv.size(1),
            "qkv [{}, {}] does not fill {} buffers of {} parts, {} tokens, together {} heads of {}",
            qkv.size(0), qkv.size(1), buffers.size(), first.size(0), first.size(1), heads_per_part,
            first.size(4));
  WAN_CHECK(!first.is_alias_of(qkv) ||
                (first.size(0) == 1 && buffers.size() == 1 && qkv.is_contiguous() && first.is_contiguous()),
            "only one part and one chunk of a contiguous product can be packed in place");
  WAN_CHECK(table.cos.size(0) == qkv.size(0) && 2 * table.cos.size(1) == first.size(4),
            "rotary table [{}, {}] for {} tokens and head_dim {}", table.cos.size(0), table.cos.size(1),
            qkv.size(0), first.size(4));
}

}  // namespace

void norm_rotate_pack(const at::Tensor& qkv, const QkNorm& norm, const RotaryTable& table,
                      std::span<const at::Tensor> buffers) {
  check_shapes(qkv, table, buffers);
  if constexpr (with_cuda) {
    if (qkv.is_cuda() && fits_qkv_kernel(qkv, buffers))
      return cuda::norm_rotate_pack(qkv, norm, table, buffers);
  }
  const std::int64_t dim = qkv.size(1) / 3;
  const std::int64_t parts = buffers.front().size(0);
  const auto in_heads = [&](const at::Tensor& x) {
    return x.unflatten(1, {-1, buffers.front().size(4)});
  };  // [tokens, heads, head_dim]
  const std::array<at::Tensor, 3> thirds{
      apply_rotary(in_heads(rms_norm(qkv.narrow(1, 0, dim), norm.q, norm.eps)), table),
      apply_rotary(in_heads(rms_norm(qkv.narrow(1, dim, dim), norm.k, norm.eps)), table),
      in_heads(qkv.narrow(1, 2 * dim, dim))};
  std::int64_t first = 0;  // first head of the chunk in each part
  for (const at::Tensor& buffer : buffers) {
    const bool in_place = buffer.is_alias_of(qkv);
    for (std::int64_t third = 0; third < (in_place ? 2 : 3); ++third) {
      buffer.select(2, third).copy_(
          thirds[static_cast<std::size_t>(third)]
              .unflatten(1, {parts, -1})  // [tokens, parts, heads_per_part, head_dim]
              .narrow(2, first, buffer.size(3))
              .transpose(0, 1));  // [parts, tokens, heads of the chunk, head_dim]
    }
    first += buffer.size(3);
  }
}

}  // namespace wan::kernels
