#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "dit/weights.h"

namespace wan::dit {

/// One text as one expert sees it: its embedding, and the cross-attention keys and values of every block.
/// They are computed at the first forward and kept for all later steps: saving 3 (model.md 8.3). The other
/// expert needs another object.
class TextCondition {
 public:
  struct KeyValue {
    at::Tensor key;                 ///< [keys, heads, head_dim], normed
    at::Tensor value;               ///< [keys, heads, head_dim]
    std::int64_t last_repeats = 1;  ///< times that the last key and value count
  };

  /// `context`: the text encoder's output [text tokens, text_dim]. The model sees it padded with zero rows to
  /// text_len. These rows have equal keys and values, so one row stands for all: saving 6 (model.md 8.3).
  explicit TextCondition(at::Tensor context) : context_(std::move(context)) {}

  /// Computes the embedding [text tokens + 1, dim], or [text_len, dim] of a text without padding, if it is
  /// needed and not yet there.
  void embed(const StemWeights& weights, std::int64_t text_len);
  /// The keys and values of block `block`. The first time, blocks must be requested in order.
  const KeyValue& key_value(std::size_t block, const BlockWeights& weights, std::int64_t heads, double eps);
  /// Call it after the last block: frees the embedding, which is no longer needed.
  void finish_forward() { embedded_.reset(); }

 private:
  at::Tensor context_;
  at::Tensor embedded_;
  std::int64_t last_repeats_ = 1;
  std::vector<KeyValue> blocks_;
};

/// Keys and values of embedded tokens [tokens, dim] for one block's cross-attention. `kv_weight`: [2 * dim,
/// dim]; `kv_bias`: [2 * dim]; `norm_k`: [dim], of the keys.
TextCondition::KeyValue make_key_value(const at::Tensor& embedded, const at::Tensor& kv_weight,
                                       const at::Tensor& kv_bias, const at::Tensor& norm_k,
                                       std::int64_t heads, double eps);

}  // namespace wan::dit
