#include "text/umt5_encoder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/check.h"
#include "kernels/linear.h"

namespace wan::text {
namespace {

constexpr double norm_eps = 1e-6;
constexpr std::int64_t max_distance = 128;

/// The tensors of one encoder layer, by name.
struct LayerWeights {
  explicit LayerWeights(std::span<const at::Tensor> unit) {
    WAN_CHECK(unit.size() == 10, "an encoder layer has {} tensors", unit.size());
    norm1 = unit[0];
    q = unit[1];
    k = unit[2];
    v = unit[3];
    o = unit[4];
    norm2 = unit[5];
    gate = unit[6];
    fc1 = unit[7];
    fc2 = unit[8];
    position = unit[9];
  }
  at::Tensor norm1, norm2;    ///< [dim]
  at::Tensor q, k, v, o;      ///< [attention_dim, dim]; o is [dim, attention_dim]
  at::Tensor gate, fc1, fc2;  ///< [ffn_dim, dim] twice, [dim, ffn_dim]
  at::Tensor position;        ///< [buckets, heads]
};

/// x weight^T, in x's type, to which narrower weights are widened.
at::Tensor product(const at::Tensor& x, const at::Tensor& weight) {
  return kernels::linear(x, weight.to(x.scalar_type()));
}

/// Statistics are fp32. The value is rounded to x's type before and after the product with the weight. x:
/// [ids, dim].
at::Tensor norm(const at::Tensor& x, const at::Tensor& weight) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scale = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + norm_eps);  // [ids, 1]
  return (wide * scale).to(x.scalar_type()) * weight;
}

/// Tanh GELU as the reference computes it: every operation is rounded to x's type (model.md 3.1).
at::Tensor gelu_in_steps(const at::Tensor& x) {
  const at::Tensor cube = x * x * x;
  const at::Tensor inner = at::tanh((x + cube * 0.044715) * 0.7978845608028654);
  return x * 0.5 * (inner + 1.0);
}

/// Bucket of every (query, key) pair: int64 [ids, ids].
at::Tensor position_buckets(std::int64_t ids, std::int64_t buckets) {
  at::Tensor result = at::empty({ids, ids}, at::kLong);
  auto* values = result.data_ptr<std::int64_t>();
  for (std::int64_t query = 0; query < ids; ++query) {
    for (std::int64_t key = 0; key < ids; ++key) *values++ = relative_position_bucket(key - query, buckets);
  }
  return result;
}

/// No scaling by the head size. Each layer has its own bias table. x: [ids, dim].
at::Tensor self_attention(const at::Tensor& x, const LayerWeights& weights, const at::Tensor& buckets) {
  const std::int64_t heads = weights.position.size(1);
  const auto project = [&](const at::Tensor& weight) {
    return product(x, weight).unflatten(1, {heads, -1}).transpose(0, 1);  // [heads, ids, head_dim]
  };
  const at::Tensor bias = at::index(weights.position, {buckets.flatten()})  // [ids * ids, heads]
                              .t()
                              .reshape({heads, buckets.size(0), buckets.size(1)});
  const at::Tensor scores = kernels::batched_product(project(weights.q), project(weights.k).transpose(1, 2)) +
                            bias;  // [heads, ids, ids]
  const at::Tensor probabilities = at::softmax(scores.to(at::kFloat), -1).to(x.scalar_type());
  const at::Tensor attended = kernels::batched_product(probabilities, project(weights.v))
                                  .transpose(0, 1)
                                  .flatten(1);  // [ids, attention_dim]
  return product(attended, weights.o);
}

at::Tensor feed_forward(const at::Tensor& x, const LayerWeights& weights) {
  const at::Tensor hidden =
      product(x, weights.fc1) * gelu_in_steps(product(x, weights.gate));  // [ids, ffn_dim]
  return product(hidden, weights.fc2);
}

}  // namespace

std::int64_t relative_position_bucket(std::int64_t relative_position, std::int64_t buckets) {
  const std::int64_t half = buckets / 2;  // one half for each direction
  const std::int64_t exact = half / 2;    // distances that have their own bucket
  const std::int64_t base = relative_position > 0 ? half : 0;
  const std::int64_t distance = std::abs(relative_position);
  if (distance < exact) return base + distance;
  const float position = std::log(static_cast<float>(distance) / static_cast<float>(exact)) /
                         std::log(static_cast<float>(max_distance) / static_cast<float>(exact));
  const auto logarithmic = static_cast<std::int64_t>(position * static_cast<float>(half - exact));
  return base + std::min(half - 1, exact + logarithmic);
}

Umt5Encoder::Umt5Encoder(checkpoint::TextEncoderConfig config, checkpoint::WeightSource& weights,
                         TokenLookup lookup)
    : config_(config), weights_(weights), lookup_(std::move(lookup)) {}

at::Tensor Umt5Encoder::encode(std::span<const std::int64_t> ids) {
  const int final_unit = static_cast<int>(config_.num_layers);
  at::Tensor x = lookup_(ids);  // [ids, dim]
  weights_.begin(0);
  const at::Tensor buckets = position_buckets(x.size(0), config_.num_buckets).to(x.device());
  for (int layer = 0; layer < final_unit; ++layer) {
    weights_.begin(layer + 1);
    const LayerWeights weights(weights_.weights(layer));
    x = x + self_attention(norm(x, weights.norm1), weights, buckets);
    x = x + feed_forward(norm(x, weights.norm2), weights);
    weights_.end(layer);
  }
  x = norm(x, weights_.weights(final_unit)[0]);
  weights_.end(final_unit);
  return x;
}

}  // namespace wan::text
