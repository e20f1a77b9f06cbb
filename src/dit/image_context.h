#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "dit/text_condition.h"
#include "dit/weights.h"

namespace wan::dit {

/// The image features that Wan 2.1's blocks attend to beside the text (model.md 10.2), and their keys and
/// values in every block. They are computed at the first forward and kept for all later steps. All texts
/// share them.
class ImageContext {
 public:
  /// `features`: of CLIP, [tokens, image_dim].
  explicit ImageContext(at::Tensor features) : features_(std::move(features)) {}

  /// Computes the embedding [tokens, dim] if it is needed and not yet there, and returns it; undefined if it
  /// is not needed.
  const at::Tensor& embed(const StemWeights& weights);
  /// The keys and values of block `block`. The first time, blocks must be requested in order.
  const TextCondition::KeyValue& key_value(std::size_t block, const BlockWeights& weights, std::int64_t heads,
                                           double eps);
  /// Call it after the last block: frees the embedding, which is no longer needed.
  void finish_forward() { embedded_.reset(); }

 private:
  at::Tensor features_;
  at::Tensor embedded_;
  std::vector<TextCondition::KeyValue> blocks_;
};

}  // namespace wan::dit
