#include "dit/transformer.h"

#include <ATen/ATen.h>

#include <optional>

#include "core/check.h"
#include "dit/block.h"
#include "dit/patchify.h"
#include "kernels/linear.h"
#include "kernels/normalization.h"
#include "kernels/residual.h"

namespace wan::dit {

/// The state of one forward: the embedding of each timestep, and for each text the residual stream and the
/// normed input of the next sub-layer. One stream serves all texts until they first differ, in block 0's
/// cross-attention.
struct Transformer::Streams {
  std::vector<TimeEmbedding> times;
  std::vector<at::Tensor> x;      ///< fp32 [local_tokens, dim] each
  std::vector<at::Tensor> input;  ///< [local_tokens, dim] each
};

namespace {

/// The modulation of a unit for each timestep: its own vectors plus what `effect` is of the timestep.
std::vector<at::Tensor> modulation_of(const at::Tensor& own, const std::vector<TimeEmbedding>& times,
                                      at::Tensor TimeEmbedding::*effect) {
  std::vector<at::Tensor> result;
  result.reserve(times.size());
  for (const TimeEmbedding& time : times) result.push_back(own.to(at::kFloat) + time.*effect);
  return result;
}

}  // namespace

/// A block and its weights.
struct Transformer::BlockTurn {
  BlockTurn(std::span<const at::Tensor> unit, const std::vector<TimeEmbedding>& times)
      : weights(unit), modulation(modulation_of(weights.modulation, times, &TimeEmbedding::projection)) {}
  at::ScalarType type() const { return weights.qkv_weight.scalar_type(); }

  BlockWeights weights;
  /// fp32 [6, dim] for each timestep: shift, scale, gate of attention, then of the FFN
  std::vector<at::Tensor> modulation;
};

/// The head and its weights.
struct Transformer::HeadTurn {
  HeadTurn(std::span<const at::Tensor> unit, const std::vector<TimeEmbedding>& times)
      : weights(unit), modulation(modulation_of(weights.modulation, times, &TimeEmbedding::embedding)) {}

  HeadWeights weights;
  std::vector<at::Tensor> modulation;  ///< fp32 [2, dim] for each timestep: shift, scale
};

Transformer::Transformer(checkpoint::TransformerConfig config, checkpoint::WeightSource& weights)
    : config_(std::move(config)), weights_(weights) {}

std::span<const at::Tensor> Transformer::take_weights(int unit, const ForwardContext& context) {
  const auto scope = context.clock.measure(Part::weight_gather);
  return weights_.weights(unit);
}

std::vector<at::Tensor> Transformer::forward(const at::Tensor& patches, float timestep,
                                             std::span<TextCondition* const> texts,
                                             const ForwardContext& context) {
  WAN_CHECK((config_.image_dim > 0) == (context.image != nullptr),
            "image features and the model's image branch do not go together");
  Streams streams;
  run_stem(patches, timestep, texts, context, streams);
  run_blocks(texts, context, streams);
  for (TextCondition* text : texts) text->finish_forward();
  if (context.image != nullptr) context.image->finish_forward();
  std::vector<at::Tensor> predictions =
      run_head(HeadTurn(take_weights(head_unit(), context), streams.times), context, streams);
  weights_.end(head_unit());
  return predictions;
}

void Transformer::run_stem(const at::Tensor& patches, float timestep, std::span<TextCondition* const> texts,
                           const ForwardContext& context, Streams& streams) {
  weights_.begin(0);
  weights_.begin(unit_of_block(0));
  const auto unit = take_weights(0, context);
  {
    const auto scope = context.clock.measure(Part::linear);
    const StemWeights weights(unit);
    streams.times = embed_timesteps(weights, context.times.timesteps(timestep));
    for (TextCondition* text : texts) text->embed(weights, config_.text_len);
    if (context.image != nullptr) {
      const at::Tensor& image = context.image->embed(weights);  // [image tokens, dim]
      if (context.probe && image.defined()) context.probe("img_emb", image);
    }
    streams.x = {kernels::linear(patches, weights.patch_weight, weights.patch_bias)
                     .to(at::kFloat)};  // [local_tokens, dim]
  }
  weights_.end(0);
  if (context.probe) {
    context.probe("patch_embedding", streams.x.front());
    for (const TimeEmbedding& time : streams.times) {
      context.probe("time_embedding", time.embedding);
      context.probe("time_projection", time.projection);
    }
  }
}

void Transformer::run_blocks(std::span<TextCondition* const> texts, const ForwardContext& context,
                             Streams& streams) {
  auto turn = std::make_optional<BlockTurn>(take_weights(unit_of_block(0), context), streams.times);
  {
    // Up to here the official code's stream is bf16, and so is the output of its first norm (model.md 5.9).
    const bool round_norm = turn->type() == at::kBFloat16;
    const auto scope = context.clock.measure(Part::elementwise);
    streams.input = {norm_by_time(context.times, streams.x.front(), turn->type(), [&](TimedTokens& tokens) {
      const at::Tensor& modulation = turn->modulation[tokens.time];
      return kernels::layer_norm_modulate(tokens.x, modulation[1], modulation[0], config_.eps, tokens.out,
                                          round_norm);
    })};
  }
  for (int block = 0; block < config_.num_layers; ++block) {
    const int unit = unit_of_block(block);
    weights_.begin(unit + 1);
    for (std::size_t i = 0; i < streams.x.size(); ++i) attend(block, *turn, context, i, streams);
    while (streams.x.size() < texts.size()) {
      streams.x.push_back(streams.x.front().clone());
      streams.input.push_back(streams.input.front());
    }
    // After the block's last residual comes the next block's norm, or the head's, with its modulation.
    const auto next_unit = take_weights(unit + 1, context);
    const bool is_last = block + 1 == config_.num_layers;
    std::optional<BlockTurn> next_turn;
    if (!is_last) next_turn.emplace(next_unit, streams.times);
    const std::vector<at::Tensor> modulation =
        is_last ? HeadTurn(next_unit, streams.times).modulation : next_turn->modulation;
    const auto next_norm = [&](const at::Tensor& x, const at::Tensor& fed) {
      return norm_by_time(context.times, x, is_last ? at::kFloat : turn->type(), [&](TimedTokens& tokens) {
        const at::Tensor& next = modulation[tokens.time];
        return kernels::add_gated_layer_norm_modulate(
            tokens.x,
            {.y = tokens.of(fed),
             .gate = turn->modulation[tokens.time][5],
             .overflow = context.overflow_of(block, SubLayer::feed_forward)},
            next[1], next[0], config_.eps, tokens.out);
      });
    };
    for (std::size_t i = 0; i < texts.size(); ++i)
      finish(block, *turn, *texts[i], context, i, next_norm, streams);
    weights_.end(unit);
    turn.swap(next_turn);
  }
}

Block Transformer::layers_of(const BlockTurn& turn, const ForwardContext& context) const {
  return {.weights = turn.weights,
          .heads = config_.num_heads,
          .eps = config_.eps,
          .attention = context.attention,
          .clock = context.clock};
}

void Transformer::attend(int block, const BlockTurn& turn, const ForwardContext& context, std::size_t stream,
                         Streams& streams) const {
  const Block layers = layers_of(turn, context);
  const at::Tensor attended =
      layers.self_attention(streams.input[stream], context.rotary, context.exchange);  // [local_tokens, dim]
  if (context.probe) context.probe(fmt::format("blocks.{}.self_attn", block), attended);
  const auto scope = context.clock.measure(Part::elementwise);
  streams.input[stream] =
      norm_by_time(context.times, streams.x[stream], turn.type(), [&](TimedTokens& tokens) {
        return kernels::add_gated_layer_norm_affine(
            tokens.x,
            {.y = tokens.of(attended),
             .gate = turn.modulation[tokens.time][2],
             .overflow = context.overflow_of(block, SubLayer::self_attention)},
            turn.weights.norm3_weight, turn.weights.norm3_bias, config_.eps, tokens.out);
      });
}

void Transformer::finish(
    int block, const BlockTurn& turn, TextCondition& text, const ForwardContext& context, std::size_t stream,
    const std::function<at::Tensor(const at::Tensor& x, const at::Tensor& fed)>& next_norm,
    Streams& streams) const {
  const Block layers = layers_of(turn, context);
  const auto report = [&](const char* layer, const at::Tensor& value) {
    if (context.probe) context.probe(fmt::format("blocks.{}{}", block, layer), value);
  };
  const at::Tensor& x = streams.x[stream];
  at::Tensor& input = streams.input[stream];
  const auto& key_value =
      text.key_value(static_cast<std::size_t>(block), turn.weights, config_.num_heads, config_.eps);
  const TextCondition::KeyValue* image =
      context.image == nullptr ? nullptr
                               : &context.image->key_value(static_cast<std::size_t>(block), turn.weights,
                                                           config_.num_heads, config_.eps);
  Probe report_part;
  if (context.probe) {
    report_part = [&](std::string_view part, const at::Tensor& value) {
      context.probe(fmt::format("blocks.{}.{}", block, part), value);
    };
  }
  const at::Tensor text_part =
      layers.cross_attention(input, key_value, image, report_part);  // [local_tokens, dim]
  report(".cross_attn", text_part);
  {
    const auto scope = context.clock.measure(Part::elementwise);
    input = norm_by_time(context.times, x, turn.type(), [&](TimedTokens& tokens) {
      const at::Tensor& modulation = turn.modulation[tokens.time];
      return kernels::add_gated_layer_norm_modulate(
          tokens.x,
          {.y = tokens.of(text_part),
           .gate = {},
           .overflow = context.overflow_of(block, SubLayer::cross_attention)},
          modulation[4], modulation[3], config_.eps, tokens.out);
    });
  }
  const at::Tensor fed = layers.feed_forward(input);  // [local_tokens, dim]
  report(".ffn", fed);
  const auto scope = context.clock.measure(Part::elementwise);
  input = next_norm(x, fed);
  report("", x);
}

std::vector<at::Tensor> Transformer::run_head(const HeadTurn& turn, const ForwardContext& context,
                                              const Streams& streams) {
  const auto scope = context.clock.measure(Part::linear);
  // The official unpatchify rounds. Guidance then subtracts rounded predictions (model.md 5.9).
  const bool rounds = turn.weights.weight.scalar_type() == at::kBFloat16;
  std::vector<at::Tensor> predictions;
  for (const at::Tensor& input : streams.input) {  // fp32 [local_tokens, dim]
    const at::Tensor head =
        kernels::linear(input, turn.weights.weight.to(at::kFloat), turn.weights.bias.to(at::kFloat));
    if (context.probe) context.probe("head", head);
    const at::Tensor prediction = rounds ? head.to(at::kBFloat16).to(at::kFloat) : head;
    predictions.push_back(head_to_patch_order(prediction));  // [local_tokens, out_dim * 4]
  }
  return predictions;
}

}  // namespace wan::dit
