#pragma once

#include <ATen/core/Tensor.h>

#include <span>

namespace wan::dit {

// The units' tensors by name instead of by position. Their order is that of checkpoint::transformer_units().

/// Everything before the first block.
struct StemWeights {
  explicit StemWeights(std::span<const at::Tensor> unit);

  at::Tensor patch_weight;                                  ///< [dim, in_dim * 4]
  at::Tensor patch_bias;                                    ///< [dim]
  at::Tensor text_0_weight, text_0_bias;                    ///< [dim, text_dim], [dim]
  at::Tensor text_2_weight, text_2_bias;                    ///< [dim, dim], [dim]
  at::Tensor time_0_weight, time_0_bias;                    ///< [dim, freq_dim], [dim]
  at::Tensor time_2_weight, time_2_bias;                    ///< [dim, dim], [dim]
  at::Tensor time_projection_weight, time_projection_bias;  ///< [6 * dim, dim], [6 * dim]

  /// The embedding of CLIP's features (model.md 10.2). All undefined where the model has no image branch.
  struct ImageEmbedding {
    at::Tensor norm_0_weight, norm_0_bias;      ///< [image_dim]
    at::Tensor linear_0_weight, linear_0_bias;  ///< [image_dim, image_dim], [image_dim]
    at::Tensor linear_1_weight, linear_1_bias;  ///< [dim, image_dim], [dim]
    at::Tensor norm_1_weight, norm_1_bias;      ///< [dim]
  };
  ImageEmbedding image;
};

/// One transformer block.
struct BlockWeights {
  explicit BlockWeights(std::span<const at::Tensor> unit);

  at::Tensor qkv_weight, qkv_bias;              ///< self-attention: [3 * dim, dim], [3 * dim]
  at::Tensor out_weight, out_bias;              ///< [dim, dim], [dim]
  at::Tensor norm_q, norm_k;                    ///< [dim]
  at::Tensor cross_q_weight, cross_q_bias;      ///< [dim, dim], [dim]
  at::Tensor cross_kv_weight, cross_kv_bias;    ///< [2 * dim, dim], [2 * dim]
  at::Tensor cross_out_weight, cross_out_bias;  ///< [dim, dim], [dim]
  at::Tensor cross_norm_q, cross_norm_k;        ///< [dim]
  at::Tensor norm3_weight, norm3_bias;          ///< [dim]
  at::Tensor ffn_0_weight, ffn_0_bias;          ///< [ffn_dim, dim], [ffn_dim]
  at::Tensor ffn_2_weight, ffn_2_bias;          ///< [dim, ffn_dim], [dim]
  at::Tensor modulation;                        ///< [6, dim]
  /// Of the image branch: [2 * dim, dim], [2 * dim], [dim]. Undefined where the model has none.
  at::Tensor image_kv_weight, image_kv_bias, image_norm_k;
};

/// Everything after the last block.
struct HeadWeights {
  explicit HeadWeights(std::span<const at::Tensor> unit);

  at::Tensor weight, bias;  ///< [4 * out_dim, dim], [4 * out_dim]
  at::Tensor modulation;    ///< [2, dim]
};

}  // namespace wan::dit
