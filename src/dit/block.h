#pragma once

#include "dit/sequence_exchange.h"
#include "dit/text_condition.h"
#include "dit/weights.h"
#include "kernels/attention.h"
#include "kernels/rotary.h"
#include "model/part_clock.h"

namespace wan::dit {

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
  at::Tensor cross_attention(const at::Tensor& input, const TextCondition::KeyValue& text) const;
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
