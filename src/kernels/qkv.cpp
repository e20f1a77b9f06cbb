#include "kernels/qkv.h"

#include <ATen/ATen.h>

#include <array>

#include "core/check.h"
#include "kernels/cuda/qkv.h"
#include "kernels/device.h"
#include "kernels/head_division.h"
#include "kernels/normalization.h"
#include "kernels/row_limits.h"

namespace wan::kernels {
namespace {

std::int64_t sum_of_heads(std::span<const at::Tensor> buffers) {
  std::int64_t heads = 0;
  for (const at::Tensor& buffer : buffers) heads += buffer.size(3);
  return heads;
}

void check_shapes(const at::Tensor& qkv, const RotaryTable& table, std::span<const at::Tensor> buffers,
                  std::size_t short_chunk) {
  WAN_CHECK(!buffers.empty() && buffers.front().dim() == 5, "no buffers [parts, tokens, 3, heads, head_dim]");
  const at::Tensor& first = buffers.front();
  for (const at::Tensor& buffer : buffers) {
    WAN_CHECK(buffer.dim() == 5 && buffer.size(0) == first.size(0) && buffer.size(1) == first.size(1) &&
                  buffer.size(2) == 3 && buffer.size(4) == first.size(4) &&
                  buffer.scalar_type() == qkv.scalar_type(),
              "the chunks' buffers differ in more than their heads");
  }
  const HeadDivision division{.heads = qkv.size(1) / 3 / first.size(4), .parts = first.size(0)};
  WAN_CHECK(first.size(1) == qkv.size(0) && 3 * division.heads * first.size(4) == qkv.size(1) &&
                division.parts <= division.heads && sum_of_heads(buffers) == division.per_part(),
            "qkv [{}, {}] does not fill {} buffers of {} parts, {} tokens, together {} heads of {}",
            qkv.size(0), qkv.size(1), buffers.size(), first.size(0), first.size(1), sum_of_heads(buffers),
            first.size(4));
  WAN_CHECK(division.is_even() || (short_chunk < buffers.size() && buffers[short_chunk].size(3) > 1),
            "chunk {} of {} has no place that can stay empty", short_chunk, buffers.size());
  WAN_CHECK(!first.is_alias_of(qkv) ||
                (first.size(0) == 1 && buffers.size() == 1 && qkv.is_contiguous() && first.is_contiguous()),
            "only one part and one chunk of a contiguous product can be packed in place");
  WAN_CHECK(table.cos.size(0) == qkv.size(0) && 2 * table.cos.size(1) == first.size(4),
            "rotary table [{}, {}] for {} tokens and head_dim {}", table.cos.size(0), table.cos.size(1),
            qkv.size(0), first.size(4));
}

/// Neighbouring parts with equally many heads.
struct EqualParts {
  std::int64_t first_part, parts;
  std::int64_t first_head, heads_of_part;
  bool is_short;  ///< with one head less than the parts that have the most
};

/// Copies the heads of these parts. `thirds`: q, k and v, [tokens, heads, head_dim] each.
void pack(const std::array<at::Tensor, 3>& thirds, const EqualParts& parts, bool copy_v,
          std::span<const at::Tensor> buffers, std::size_t short_chunk) {
  if (parts.parts == 0) return;
  std::int64_t first = 0;  // first head of the chunk in each part
  for (std::size_t chunk = 0; chunk < buffers.size(); ++chunk) {
    const at::Tensor own = buffers[chunk].narrow(0, parts.first_part, parts.parts);
    const std::int64_t heads = own.size(3) - (parts.is_short && chunk == short_chunk ? 1 : 0);
    for (std::int64_t third = 0; third < (copy_v ? 3 : 2); ++third) {
      own.select(2, third)
          .narrow(2, 0, heads)
          .copy_(thirds[static_cast<std::size_t>(third)]
                     .narrow(1, parts.first_head, parts.parts * parts.heads_of_part)
                     .unflatten(1, {parts.parts, -1})  // [tokens, parts, heads of a part, head_dim]
                     .narrow(2, first, heads)
                     .transpose(0, 1));  // [parts, tokens, heads of the chunk, head_dim]
    }
    first += heads;
  }
}

}  // namespace

void norm_rotate_pack(const at::Tensor& qkv, const QkNorm& norm, const RotaryTable& table,
                      std::span<const at::Tensor> buffers, std::size_t short_chunk) {
  check_shapes(qkv, table, buffers, short_chunk);
  if constexpr (with_cuda) {
    if (qkv.is_cuda() && fits_qkv_kernel(qkv, buffers))
      return cuda::norm_rotate_pack(qkv, norm, table, buffers, short_chunk);
  }
  const std::int64_t dim = qkv.size(1) / 3;
  const auto in_heads = [&](const at::Tensor& x) {
    return x.unflatten(1, {-1, buffers.front().size(4)});
  };  // [tokens, heads, head_dim]
  const std::array<at::Tensor, 3> thirds{
      apply_rotary(in_heads(rms_norm(qkv.narrow(1, 0, dim), norm.q, norm.eps)), table),
      apply_rotary(in_heads(rms_norm(qkv.narrow(1, dim, dim), norm.k, norm.eps)), table),
      in_heads(qkv.narrow(1, 2 * dim, dim))};
  const bool copy_v = !buffers.front().is_alias_of(qkv);
  const HeadDivision division{.heads = thirds.front().size(1), .parts = buffers.front().size(0)};
  const std::int64_t full = division.full_parts();
  const std::int64_t most = division.per_part();
  pack(thirds, {.first_part = 0, .parts = full, .first_head = 0, .heads_of_part = most, .is_short = false},
       copy_v, buffers, short_chunk);
  pack(thirds,
       {.first_part = full,
        .parts = division.parts - full,
        .first_head = full * most,
        .heads_of_part = most - 1,
        .is_short = true},
       copy_v, buffers, short_chunk);
}

}  // namespace wan::kernels
