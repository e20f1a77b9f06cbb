#include "dit/text_condition.h"

#include <ATen/ATen.h>

#include "core/check.h"
#include "kernels/linear.h"
#include "kernels/normalization.h"

namespace wan::dit {

void TextCondition::embed(const StemWeights& weights, std::int64_t text_len) {
  if (!blocks_.empty()) return;
  const std::int64_t tokens = context_.size(0);
  WAN_CHECK(tokens <= text_len, "{} text tokens, the model takes {}", tokens, text_len);
  const bool has_padding = tokens < text_len;
  if (has_padding) last_repeats_ = text_len - tokens;
  const at::Tensor rows =
      has_padding ? at::constant_pad_nd(context_, {0, 0, 0, 1}) : context_;  // [keys, text_dim]
  const at::Tensor hidden =
      kernels::linear_gelu(rows, weights.text_0_weight, weights.text_0_bias);       // [keys, dim]
  embedded_ = kernels::linear(hidden, weights.text_2_weight, weights.text_2_bias);  // [keys, dim]
}

TextCondition::KeyValue make_key_value(const at::Tensor& embedded, const at::Tensor& kv_weight,
                                       const at::Tensor& kv_bias, const at::Tensor& norm_k,
                                       std::int64_t heads, double eps) {
  const std::int64_t dim = embedded.size(1);
  const at::Tensor kv = kernels::linear(embedded, kv_weight, kv_bias);          // [tokens, 2 * dim]
  const at::Tensor key = kernels::rms_norm(kv.narrow(1, 0, dim), norm_k, eps);  // [tokens, dim]
  const at::Tensor value = kv.narrow(1, dim, dim).contiguous();                 // [tokens, dim]
  return {.key = key.unflatten(1, {heads, -1}), .value = value.unflatten(1, {heads, -1})};
}

const TextCondition::KeyValue& TextCondition::key_value(std::size_t block, const BlockWeights& weights,
                                                        std::int64_t heads, double eps) {
  if (block < blocks_.size()) return blocks_[block];
  WAN_CHECK(block == blocks_.size() && embedded_.defined(), "keys of block {} asked for after {}", block,
            blocks_.size());
  blocks_.push_back(make_key_value(embedded_, weights.cross_kv_weight, weights.cross_kv_bias,
                                   weights.cross_norm_k, heads, eps));
  blocks_.back().last_repeats = last_repeats_;
  return blocks_.back();
}

}  // namespace wan::dit
