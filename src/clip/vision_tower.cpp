#include "clip/vision_tower.h"

#include <ATen/ATen.h>

#include <array>
#include <cmath>

#include "core/check.h"
#include "kernels/linear.h"

namespace wan::clip {
namespace {

constexpr double norm_eps = 1e-5;

/// Mean and spread of the colour channels, in 0..1 (model.md 10.1).
constexpr std::array<double, 3> channel_mean{0.48145466, 0.4578275, 0.40821073};
constexpr std::array<double, 3> channel_spread{0.26862954, 0.26130258, 0.27577711};

/// The tensors of one block, by name.
struct BlockWeights {
  explicit BlockWeights(std::span<const at::Tensor> unit) {
    WAN_CHECK(unit.size() == 12, "a block of CLIP has {} tensors", unit.size());
    norm1 = unit[0];
    norm1_bias = unit[1];
    qkv = unit[2];
    qkv_bias = unit[3];
    out = unit[4];
    out_bias = unit[5];
    norm2 = unit[6];
    norm2_bias = unit[7];
    mlp_0 = unit[8];
    mlp_0_bias = unit[9];
    mlp_2 = unit[10];
    mlp_2_bias = unit[11];
  }
  at::Tensor norm1, norm1_bias, norm2, norm2_bias;  ///< [dim]
  at::Tensor qkv, qkv_bias;                         ///< [3 * dim, dim], [3 * dim]: rows of q, k, v
  at::Tensor out, out_bias;                         ///< [dim, dim], [dim]
  at::Tensor mlp_0, mlp_0_bias;                     ///< [ffn_dim, dim], [ffn_dim]
  at::Tensor mlp_2, mlp_2_bias;                     ///< [dim, ffn_dim], [dim]
};

at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  // ATen's layer norm takes no tensors without memory, which a rank that ran out of it walks with.
  const at::Tensor centred = x - x.mean(-1, /*keepdim=*/true);
  return centred * at::rsqrt(centred.square().mean(-1, /*keepdim=*/true) + norm_eps) * weight + bias;
}

/// -1..1 -> CLIP's own range. pixels: [3, size, size].
at::Tensor normalised(const at::Tensor& pixels) {
  std::vector<at::Tensor> channels;
  channels.reserve(channel_mean.size());
  for (std::size_t i = 0; i < channel_mean.size(); ++i) {
    const at::Tensor channel = pixels[static_cast<std::int64_t>(i)];  // [size, size]
    channels.push_back((channel * 0.5 + 0.5).sub(channel_mean.at(i)).div(channel_spread.at(i)));
  }
  return at::stack(channels);
}

/// [3, size, size] -> [patches, 3 * patch * patch]: patches row by row, features by channel, row, column.
at::Tensor patches_of(const at::Tensor& pixels, std::int64_t patch) {
  return pixels.unflatten(2, {-1, patch})
      .unflatten(1, {-1, patch})  // [3, rows, patch, columns, patch]
      .permute({1, 3, 0, 2, 4})   // [rows, columns, 3, patch, patch]
      .flatten(2)
      .flatten(0, 1);
}

/// x: [tokens, dim]. No mask.
at::Tensor self_attention(const at::Tensor& x, const BlockWeights& weights, std::int64_t heads) {
  const at::Tensor qkv = kernels::linear(x, weights.qkv, weights.qkv_bias)
                             .unflatten(1, {3, heads, -1})
                             .permute({1, 2, 0, 3});  // [3, heads, tokens, head_dim]
  const double scale = 1.0 / std::sqrt(static_cast<double>(qkv.size(3)));
  const at::Tensor scores =
      kernels::batched_product(qkv[0], qkv[1].transpose(1, 2)) * scale;  // [heads, tokens, tokens]
  const at::Tensor attended =
      kernels::batched_product(at::softmax(scores, -1), qkv[2]).transpose(0, 1).flatten(1);  // [tokens, dim]
  return kernels::linear(attended, weights.out, weights.out_bias);
}

at::Tensor feed_forward(const at::Tensor& x, const BlockWeights& weights) {
  const at::Tensor hidden =
      kernels::gelu(kernels::linear(x, weights.mlp_0, weights.mlp_0_bias));  // exact GELU, [tokens, ffn_dim]
  return kernels::linear(hidden, weights.mlp_2, weights.mlp_2_bias);
}

/// The input of the first block, [tokens, dim]. `stem`: patch, class token, positions, norm.
at::Tensor embed(const at::Tensor& input, std::span<const at::Tensor> stem, std::int64_t patch) {
  WAN_CHECK(stem.size() == 5, "the stem of CLIP has {} tensors", stem.size());
  const at::Tensor patches = kernels::linear(patches_of(input, patch), stem[0].flatten(1));  // [patches, dim]
  const at::Tensor tokens = at::cat({stem[1].squeeze(0), patches}) + stem[2].squeeze(0);     // [tokens, dim]
  return norm(tokens, stem[3], stem[4]);
}

}  // namespace

VisionTower::VisionTower(checkpoint::ImageEncoderConfig config, checkpoint::WeightSource& weights)
    : config_(config), weights_(weights) {}

at::Tensor VisionTower::encode(const at::Tensor& pixels, const Probe& probe) {
  const auto report = [&](std::string_view name, const at::Tensor& value) {
    if (probe) probe(name, value);
  };
  const int blocks = static_cast<int>(config_.num_layers);
  weights_.begin(0);
  weights_.begin(1);
  const at::Tensor input = normalised(pixels);  // [3, image_size, image_size]
  report("input", input);
  at::Tensor x = embed(input, weights_.weights(0), config_.patch_size);  // [tokens, dim]
  weights_.end(0);
  report("pre_norm", x);
  for (int block = 0; block < blocks; ++block) {
    const int unit = block + 1;
    if (unit < blocks) weights_.begin(unit + 1);
    const BlockWeights weights(weights_.weights(unit));
    x = x + self_attention(norm(x, weights.norm1, weights.norm1_bias), weights, config_.num_heads);
    x = x + feed_forward(norm(x, weights.norm2, weights.norm2_bias), weights);
    weights_.end(unit);
    report(fmt::format("blocks.{}", block), x);
  }
  return x;
}

}  // namespace wan::clip
