#include "dit/block.h"

#include <ATen/ATen.h>

#include <vector>

#include "kernels/attention.h"
#include "kernels/linear.h"
#include "kernels/normalization.h"
#include "kernels/qkv.h"

namespace wan::dit {
namespace {

/// Copies heads [..., head_dim], each of which is dense, in the widest pieces that divide a head. ATen copies
/// element by element if the whole is not dense.
void copy_heads(const at::Tensor& to, const at::Tensor& from) {
  const std::int64_t head_bytes = to.size(-1) * static_cast<std::int64_t>(to.element_size());
  constexpr std::int64_t wide_bytes = 16;
  if (head_bytes % wide_bytes == 0) {
    to.view(at::kComplexDouble).copy_(from.view(at::kComplexDouble));
  } else {
    to.copy_(from);
  }
}

}  // namespace

at::Tensor Block::self_attention(const at::Tensor& input, const kernels::RotaryTable& rotary,
                                 SequenceExchange& exchange) const {
  project_qkv(input, rotary, exchange);
  const SequenceShape& shape = exchange.shape();
  at::Tensor attended;  // [local_tokens, dim]
  if (shape.is_undivided()) {
    const auto scope = clock.measure(Part::attention);
    const at::Tensor qkv = exchange.wait_qkv(0);  // [tokens, 3, heads, head_dim]
    attended = kernels::attention(qkv.select(1, 0), qkv.select(1, 1), qkv.select(1, 2), attention).flatten(1);
  } else {
    for (int chunk = 0; chunk < shape.chunks(); ++chunk) attend_chunk(chunk, exchange);
    attended = collect_heads(exchange);
  }
  const auto scope = clock.measure(Part::linear);
  return kernels::linear(attended, weights.out_weight, weights.out_bias);  // [local_tokens, dim]
}

void Block::project_qkv(const at::Tensor& input, const kernels::RotaryTable& rotary,
                        SequenceExchange& exchange) const {
  const SequenceShape& shape = exchange.shape();
  std::vector<at::Tensor> buffers;  // [parts, local_tokens, 3, places, head_dim] each
  buffers.reserve(shape.chunk_heads.size());
  for (int chunk = 0; chunk < shape.chunks(); ++chunk) buffers.push_back(exchange.qkv_buffer(chunk));
  // If the shape is undivided, the buffer has the layout of the product.
  at::Tensor qkv = shape.is_undivided() ? buffers.front().view({shape.local_tokens, -1})
                                        : at::empty({shape.local_tokens, 3 * input.size(1)},
                                                    buffers.front().options());  // [local_tokens, 3 * dim]
  {
    const auto scope = clock.measure(Part::linear);
    kernels::linear_out(qkv, input, weights.qkv_weight, weights.qkv_bias);
  }
  {
    const auto scope = clock.measure(Part::elementwise);
    kernels::norm_rotate_pack(qkv, {.q = weights.norm_q, .k = weights.norm_k, .eps = eps}, rotary, buffers,
                              static_cast<std::size_t>(shape.short_chunk()));
  }
  for (int chunk = 0; chunk < shape.chunks(); ++chunk) exchange.launch_qkv(chunk);
}

void Block::attend_chunk(int chunk, SequenceExchange& exchange) const {
  const std::int64_t tokens = exchange.shape().tokens;
  const std::int64_t own_heads = exchange.shape().heads_of(chunk);
  const at::Tensor qkv = [&] {
    const auto scope = clock.measure(Part::all_to_all);
    return exchange.wait_qkv(chunk);  // [padded_tokens, 3, places, head_dim]
  }();
  {
    const auto scope = clock.measure(Part::attention);
    at::Tensor out = exchange.attention_buffer(chunk);  // [padded_tokens, places, head_dim]
    // A padding token is not a key. As a query it has a result that nobody reads. An empty place has none.
    const at::Tensor real = qkv.narrow(0, 0, tokens).narrow(2, 0, own_heads);
    at::Tensor result = out.narrow(0, 0, tokens).narrow(1, 0, own_heads);  // [tokens, own_heads, head_dim]
    kernels::attention_out(result, real.select(1, 0), real.select(1, 1), real.select(1, 2), attention);
    out.narrow(0, tokens, out.size(0) - tokens).zero_();
  }
  exchange.launch_attention(chunk);
}

at::Tensor Block::collect_heads(SequenceExchange& exchange) const {
  const SequenceShape& shape = exchange.shape();
  const std::int64_t full_parts = shape.division().full_parts();
  const std::int64_t per_part = shape.division().per_part();
  at::Tensor result;      // [local_tokens, heads, head_dim]
  std::int64_t full = 0;  // first head of the chunk in a full part, and in one with a head less
  std::int64_t less = 0;
  for (int chunk = 0; chunk < shape.chunks(); ++chunk) {
    const at::Tensor received = [&] {
      const auto scope = clock.measure(Part::all_to_all);
      return exchange.wait_attention(chunk);  // [parts, local_tokens, places, head_dim]
    }();
    const auto scope = clock.measure(Part::elementwise);
    if (!result.defined())
      result = at::empty({shape.local_tokens, shape.heads, shape.head_dim}, received.options());
    const std::int64_t places = shape.places_of(chunk);
    const std::int64_t in_full_parts = full_parts * per_part;  // heads
    copy_heads(result.narrow(1, 0, in_full_parts).unflatten(1, {-1, per_part}).narrow(2, full, places),
               received.narrow(0, 0, full_parts).transpose(0, 1));
    full += places;
    if (full_parts == shape.parts) continue;
    const std::int64_t of_others = places - (chunk == shape.short_chunk() ? 1 : 0);
    copy_heads(
        result.narrow(1, in_full_parts, shape.heads - in_full_parts)
            .unflatten(1, {-1, per_part - 1})
            .narrow(2, less, of_others),
        received.narrow(0, full_parts, shape.parts - full_parts).narrow(2, 0, of_others).transpose(0, 1));
    less += of_others;
  }
  return result.flatten(1);  // [local_tokens, dim]
}

at::Tensor Block::cross_attention(const at::Tensor& input, const TextCondition::KeyValue& text,
                                  const TextCondition::KeyValue* image, const Probe& report) const {
  const at::Tensor projected = [&] {
    const auto scope = clock.measure(Part::linear);
    return kernels::linear(input, weights.cross_q_weight, weights.cross_q_bias);  // [local_tokens, dim]
  }();
  const at::Tensor query = [&] {
    const auto scope = clock.measure(Part::elementwise);
    return kernels::rms_norm(projected, weights.cross_norm_q, eps)
        .unflatten(1, {heads, -1});  // [local_tokens, heads, head_dim]
  }();
  const auto attend = [&](const TextCondition::KeyValue& to) {
    const auto scope = clock.measure(Part::attention);
    return kernels::attention(query, to.key, to.value, attention, to.last_repeats)
        .flatten(1);  // [local_tokens, dim]
  };
  at::Tensor attended = attend(text);
  if (image != nullptr) {
    if (report) report("attention.text", attended);
    const at::Tensor of_image = attend(*image);  // a softmax of its own (model.md 10.2)
    if (report) report("attention.image", of_image);
    attended = attended + of_image;
  }
  const auto scope = clock.measure(Part::linear);
  return kernels::linear(attended, weights.cross_out_weight, weights.cross_out_bias);  // [local_tokens, dim]
}

at::Tensor Block::feed_forward(const at::Tensor& input) const {
  const auto scope = clock.measure(Part::linear);
  const at::Tensor hidden =
      kernels::linear_gelu(input, weights.ffn_0_weight, weights.ffn_0_bias);  // [local_tokens, ffn_dim]
  return kernels::linear(hidden, weights.ffn_2_weight, weights.ffn_2_bias);   // [local_tokens, dim]
}

}  // namespace wan::dit
