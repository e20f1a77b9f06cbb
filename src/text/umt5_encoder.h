#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>

#include "checkpoint/model_config.h"
#include "checkpoint/weight_source.h"

namespace wan::text {

/// Looks up rows of the token embedding table: [ids] -> [ids, dim]. A port, because the table may be split
/// over ranks.
using TokenLookup = std::function<at::Tensor(std::span<const std::int64_t> ids)>;

/// Bucket of a relative position (key - query) in the bidirectional table (model.md 3.2).
std::int64_t relative_position_bucket(std::int64_t relative_position, std::int64_t buckets);

/// The umT5 encoder (model.md 3.1). It processes only the real tokens, with the same results as for the
/// padded text (model.md 3.4). It computes in the type of the weights. The order of a unit's tensors is that
/// of checkpoint::text_encoder_units().
class Umt5Encoder {
 public:
  Umt5Encoder(checkpoint::TextEncoderConfig config, checkpoint::WeightSource& weights, TokenLookup lookup);

  /// `ids`: real token ids, </s> last. Returns [ids, dim].
  at::Tensor encode(std::span<const std::int64_t> ids);

 private:
  checkpoint::TextEncoderConfig config_;
  checkpoint::WeightSource& weights_;
  TokenLookup lookup_;
};

}  // namespace wan::text
