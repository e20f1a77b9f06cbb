#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "checkpoint/model_config.h"
#include "checkpoint/weight_source.h"
#include "dit/block.h"
#include "dit/image_context.h"
#include "dit/overflow.h"
#include "dit/sequence_exchange.h"
#include "dit/text_condition.h"
#include "dit/time_embedding.h"
#include "dit/token_times.h"
#include "kernels/attention.h"
#include "kernels/rotary.h"
#include "model/part_clock.h"

namespace wan::dit {

/// The inputs of a forward besides weights. They are the same for all steps of a request.
struct ForwardContext {
  SequenceExchange& exchange;
  const kernels::RotaryTable& rotary;  ///< for the exchange's own tokens
  PartClock& clock;
  Probe probe;  ///< may be empty
  kernels::AttentionBackend attention = kernels::AttentionBackend::automatic;
  TokenTimes times = {};
  ImageContext* image = nullptr;            ///< of a model with an image branch, and of no other
  const OverflowMarks* overflow = nullptr;  ///< marked where values go out of range; null: nobody asks

  at::Tensor overflow_of(int block, SubLayer layer) const {
    return overflow == nullptr ? at::Tensor() : overflow->of(block, layer);
  }
};

/// One expert of Wan 2.2 (model.md 5.6), over the tokens of one rank. Weights come through the port, one unit
/// at a time. The next unit is requested while the current one computes.
class Transformer {
 public:
  Transformer(checkpoint::TransformerConfig config, checkpoint::WeightSource& weights);

  /// `patches`: [local_tokens, in_dim * 4], this rank's tokens of the channels (noisy latent, condition),
  /// with zero rows where the sequence is padded. `timestep`: of the tokens that are not known. Returns one
  /// prediction [local_tokens, out_dim * 4] for each text, in patchify's feature order, fp32. Texts share all
  /// work that does not depend on them: embeddings, block 0 up to its cross-attention, and each unit's
  /// gather.
  std::vector<at::Tensor> forward(const at::Tensor& patches, float timestep,
                                  std::span<TextCondition* const> texts, const ForwardContext& context);

  const checkpoint::TransformerConfig& config() const { return config_; }

 private:
  struct Streams;
  struct BlockTurn;
  struct HeadTurn;

  void run_stem(const at::Tensor& patches, float timestep, std::span<TextCondition* const> texts,
                const ForwardContext& context, Streams& streams);
  void run_blocks(std::span<TextCondition* const> texts, const ForwardContext& context, Streams& streams);
  Block layers_of(const BlockTurn& turn, const ForwardContext& context) const;
  /// The two halves of a block, for one stream. attend() ends with the input of the cross-attention. The
  /// other half ends with the input of the next unit: `next_norm` makes it from the residual stream and the
  /// block's last contribution.
  void attend(int block, const BlockTurn& turn, const ForwardContext& context, std::size_t stream,
              Streams& streams) const;
  void finish(int block, const BlockTurn& turn, TextCondition& text, const ForwardContext& context,
              std::size_t stream,
              const std::function<at::Tensor(const at::Tensor& x, const at::Tensor& fed)>& next_norm,
              Streams& streams) const;
  std::vector<at::Tensor> run_head(const HeadTurn& turn, const ForwardContext& context,
                                   const Streams& streams);
  /// Waits for a unit's weights.
  std::span<const at::Tensor> take_weights(int unit, const ForwardContext& context);
  int unit_of_block(int block) const { return block + 1; }
  int head_unit() const { return static_cast<int>(config_.num_layers) + 1; }

  checkpoint::TransformerConfig config_;
  checkpoint::WeightSource& weights_;
};

}  // namespace wan::dit
