#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "checkpoint/model_config.h"
#include "checkpoint/weight_source.h"
#include "core/part_clock.h"
#include "dit/sequence_exchange.h"
#include "dit/text_condition.h"
#include "dit/time_embedding.h"
#include "kernels/rotary.h"

namespace wan::dit {

/// Hears intermediate results by name ("patch_embedding", "blocks.0.self_attn", ...), for parity tests:
/// [local_tokens, dim].
using Probe = std::function<void(std::string_view name, const at::Tensor& value)>;

/// What a forward needs besides weights: the same for all steps of a request.
struct ForwardContext {
  SequenceExchange& exchange;
  const kernels::RotaryTable& rotary;  ///< of the exchange's own tokens
  PartClock& clock;
  Probe probe;  ///< may be empty
};

/// One expert of Wan 2.2 (spec section 5), over the tokens of one rank. Weights come through the port, one
/// unit at a time, the next one asked for while the present one computes.
class Transformer {
 public:
  Transformer(checkpoint::TransformerConfig config, checkpoint::WeightSource& weights);

  /// `patches`: [local_tokens, in_dim * 4], this rank's tokens of the (noisy latent, condition) channels,
  /// zero rows where the sequence is padded. Returns one prediction [local_tokens, out_dim * 4] per text, in
  /// patchify's feature order, fp32. Texts share whatever does not depend on them: embeddings, block 0 up to
  /// its cross-attention, and each unit's gather.
  std::vector<at::Tensor> forward(const at::Tensor& patches, int timestep,
                                  std::span<TextCondition* const> texts, const ForwardContext& context);

  const checkpoint::TransformerConfig& config() const { return config_; }

 private:
  struct Streams;

  void run_stem(const at::Tensor& patches, int timestep, std::span<TextCondition* const> texts,
                const ForwardContext& context, Streams& streams);
  void run_block(int block, std::span<TextCondition* const> texts, const ForwardContext& context,
                 Streams& streams);
  std::vector<at::Tensor> run_head(const ForwardContext& context, const Streams& streams);
  int unit_of_block(int block) const { return block + 1; }
  int head_unit() const { return static_cast<int>(config_.num_layers) + 1; }

  checkpoint::TransformerConfig config_;
  checkpoint::WeightSource& weights_;
};

}  // namespace wan::dit
