#pragma once

#include <functional>
#include <string_view>

#include "dit/sequence_exchange.h"
#include "dit/text_condition.h"
#include "dit/weights.h"
#include "kernels/attention.h"
#include "kernels/rotary.h"
#include "model/part_clock.h"

namespace wan::dit {

/// Receives intermediate results by name ("patch_embedding", "blocks.0.self_attn", ...), for parity tests:
/// [local_tokens, dim].
using Probe = std::function<void(std::string_view name, const at::Tensor& value)>;

/// The three sub-layers of a transformer block (model.md 5.6). Each turns its normed input [local_tokens,
/// dim], in the weights' type, into its contribution to the residual stream before the gate: [local_tokens,
/// dim]. The transformer computes norms and residuals, because it joins each residual with the next norm.
struct Block {
  const BlockWeights& weights;
  std::int64_t heads;
  double eps;
  kernels::AttentionBackend attention;
  PartClock& clock;

  at::Tensor self_attention(const at::Tensor& input, const kernels::RotaryTable& rotary,
                            SequenceExchange& exchange) const;
  /// `image`: of Wan 2.1's image branch; null for a model without one. `report`, if it is not empty, receives
  /// the results of both attentions, "attention.text" and "attention.image", before they are added.
  at::Tensor cross_attention(const at::Tensor& input, const TextCondition::KeyValue& text,
                             const TextCondition::KeyValue* image, const Probe& report) const;
  at::Tensor feed_forward(const at::Tensor& input) const;

 private:
  /// Writes normed and rotated queries and keys, and values, each [local_tokens, heads, head_dim], into the
  /// exchange's buffers.
  void project_qkv(const at::Tensor& input, const kernels::RotaryTable& rotary,
                   SequenceExchange& exchange) const;
  void attend_chunk(int chunk, SequenceExchange& exchange) const;
  at::Tensor collect_heads(SequenceExchange& exchange) const;
};

}  // namespace wan::dit
