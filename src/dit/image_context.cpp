#include "dit/image_context.h"

#include <ATen/ATen.h>

#include "core/check.h"
#include "kernels/linear.h"
#include "kernels/normalization.h"

namespace wan::dit {
namespace {

constexpr double embedding_eps = 1e-5;  // not that of the blocks

/// Computed in fp32 (model.md 10.2). x: [tokens, width].
at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return kernels::layer_norm_affine(x.to(at::kFloat), weight, bias, embedding_eps, at::kFloat);
}

}  // namespace

const at::Tensor& ImageContext::embed(const StemWeights& weights) {
  if (!blocks_.empty() || embedded_.defined()) return embedded_;
  const StemWeights::ImageEmbedding& image = weights.image;
  WAN_CHECK(image.linear_0_weight.defined(), "image features for a model without an image branch");
  const at::Tensor normed = norm(features_, image.norm_0_weight, image.norm_0_bias);  // [tokens, image_dim]
  const at::Tensor hidden = kernels::gelu(
      kernels::linear(normed, image.linear_0_weight, image.linear_0_bias));  // exact, [tokens, image_dim]
  const at::Tensor wide =
      kernels::linear(hidden, image.linear_1_weight, image.linear_1_bias);  // [tokens, dim]
  embedded_ = norm(wide, image.norm_1_weight, image.norm_1_bias);           // fp32 [tokens, dim]
  return embedded_;
}

const TextCondition::KeyValue& ImageContext::key_value(std::size_t block, const BlockWeights& weights,
                                                       std::int64_t heads, double eps) {
  if (block < blocks_.size()) return blocks_[block];
  WAN_CHECK(block == blocks_.size() && embedded_.defined(), "image keys of block {} asked for after {}",
            block, blocks_.size());
  blocks_.push_back(make_key_value(embedded_, weights.image_kv_weight, weights.image_kv_bias,
                                   weights.image_norm_k, heads, eps));
  return blocks_.back();
}

}  // namespace wan::dit
