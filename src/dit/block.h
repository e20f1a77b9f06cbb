#pragma once

#include "core/part_clock.h"
#include "dit/sequence_exchange.h"
#include "dit/text_condition.h"
#include "dit/weights.h"
#include "kernels/rotary.h"

namespace wan::dit {

/// The three sub-layers of a transformer block (spec 5.6), each without its residual. x: the fp32 residual
/// stream [local_tokens, dim]; modulation: fp32 [6, dim], rows shift, scale, gate of attention, then of the
/// FFN.
struct Block {
  const BlockWeights& weights;
  std::int64_t heads;
  double eps;
  PartClock& clock;

  at::Tensor self_attention(const at::Tensor& x, const at::Tensor& modulation,
                            const kernels::RotaryTable& rotary, SequenceExchange& exchange) const;
  at::Tensor cross_attention(const at::Tensor& x, const TextCondition::KeyValue& text) const;
  at::Tensor feed_forward(const at::Tensor& x, const at::Tensor& modulation) const;

 private:
  /// Normed and turned queries and keys, and values, as [local_tokens, heads, head_dim] each, into the
  /// exchange's buffers.
  void project_qkv(const at::Tensor& input, const kernels::RotaryTable& rotary,
                   SequenceExchange& exchange) const;
  void attend_chunk(int chunk, SequenceExchange& exchange) const;
  static at::Tensor collect_heads(SequenceExchange& exchange, PartClock& clock);
};

}  // namespace wan::dit
