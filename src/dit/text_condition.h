#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "dit/weights.h"

namespace wan::dit {

/// One text as one expert sees it: its embedding, and every block's cross-attention keys and values, computed
/// at the first forward and kept for all later steps: saving 3 (model.md 8.3). Make a new one for the other
/// expert.
class TextCondition {
 public:
  struct KeyValue {
    at::Tensor key;    ///< [text_len, heads, head_dim], normed
    at::Tensor value;  ///< [text_len, heads, head_dim]
  };

  /// `context`: the text encoder's output [text tokens, text_dim]; the model sees it padded with zero rows to
  /// text_len.
  explicit TextCondition(at::Tensor context) : context_(std::move(context)) {}

  /// Computes the embedding [text_len, dim] if it is needed and not there.
  void embed(const StemWeights& weights, std::int64_t text_len);
  /// Block `block`'s keys and values; blocks are asked for in order the first time.
  const KeyValue& key_value(std::size_t block, const BlockWeights& weights, std::int64_t heads, double eps);
  /// To be called after the last block: the embedding has served.
  void finish_forward() { embedded_.reset(); }

 private:
  at::Tensor context_;
  at::Tensor embedded_;
  std::vector<KeyValue> blocks_;
};

}  // namespace wan::dit
