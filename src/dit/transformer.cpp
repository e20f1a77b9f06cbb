#include "dit/transformer.h"

#include <ATen/ATen.h>

#include "core/check.h"
#include "dit/block.h"
#include "dit/patchify.h"
#include "kernels/linear.h"
#include "kernels/normalization.h"

namespace wan::dit {

/// The state of one forward: the time embedding and the residual stream of each text; one stream serves all
/// texts until they first differ, in block 0's cross-attention.
struct Transformer::Streams {
  TimeEmbedding time;
  std::vector<at::Tensor> x;  ///< fp32 [local_tokens, dim] each
};

Transformer::Transformer(checkpoint::TransformerConfig config, checkpoint::WeightSource& weights)
    : config_(std::move(config)), weights_(weights) {}

std::vector<at::Tensor> Transformer::forward(const at::Tensor& patches, int timestep,
                                             std::span<TextCondition* const> texts,
                                             const ForwardContext& context) {
  Streams streams;
  run_stem(patches, timestep, texts, context, streams);
  for (int block = 0; block < config_.num_layers; ++block) run_block(block, texts, context, streams);
  for (TextCondition* text : texts) text->finish_forward();
  return run_head(context, streams);
}

void Transformer::run_stem(const at::Tensor& patches, int timestep, std::span<TextCondition* const> texts,
                           const ForwardContext& context, Streams& streams) {
  weights_.begin(0);
  weights_.begin(unit_of_block(0));
  const auto unit = [&] {
    const auto scope = context.clock.measure(Part::weight_gather);
    return weights_.weights(0);
  }();
  {
    const auto scope = context.clock.measure(Part::linear);
    const StemWeights weights(unit);
    streams.time = embed_timestep(weights, timestep);
    for (TextCondition* text : texts) text->embed(weights, config_.text_len);
    streams.x = {kernels::linear(patches, weights.patch_weight, weights.patch_bias)
                     .to(at::kFloat)};  // [local_tokens, dim]
  }
  weights_.end(0);
  if (context.probe) {
    context.probe("patch_embedding", streams.x.front());
    context.probe("time_embedding", streams.time.embedding);
    context.probe("time_projection", streams.time.projection);
  }
}

void Transformer::run_block(int block, std::span<TextCondition* const> texts, const ForwardContext& context,
                            Streams& streams) {
  const int unit = unit_of_block(block);
  weights_.begin(unit + 1);
  const auto tensors = [&] {
    const auto scope = context.clock.measure(Part::weight_gather);
    return weights_.weights(unit);
  }();
  const BlockWeights weights(tensors);
  const Block layers{
      .weights = weights, .heads = config_.num_heads, .eps = config_.eps, .clock = context.clock};
  const at::Tensor modulation = weights.modulation.to(at::kFloat) + streams.time.projection;  // [6, dim]
  const auto report = [&](const char* layer, const at::Tensor& value) {
    if (context.probe) context.probe(fmt::format("blocks.{}{}", block, layer), value);
  };

  for (at::Tensor& x : streams.x) {
    const at::Tensor attended = layers.self_attention(x, modulation, context.rotary, context.exchange);
    report(".self_attn", attended);
    const auto scope = context.clock.measure(Part::elementwise);
    kernels::add_gated(x, attended, modulation[2]);
  }
  while (streams.x.size() < texts.size()) streams.x.push_back(streams.x.front().clone());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    at::Tensor& x = streams.x[i];
    const at::Tensor text_part = layers.cross_attention(
        x, texts[i]->key_value(static_cast<std::size_t>(block), weights, config_.num_heads, config_.eps));
    report(".cross_attn", text_part);
    kernels::add_gated(x, text_part, {});
    const at::Tensor fed = layers.feed_forward(x, modulation);
    report(".ffn", fed);
    const auto scope = context.clock.measure(Part::elementwise);
    kernels::add_gated(x, fed, modulation[5]);
    report("", x);
  }
  weights_.end(unit);
}

std::vector<at::Tensor> Transformer::run_head(const ForwardContext& context, const Streams& streams) {
  const auto unit = [&] {
    const auto scope = context.clock.measure(Part::weight_gather);
    return weights_.weights(head_unit());
  }();
  const auto scope = context.clock.measure(Part::linear);
  const HeadWeights weights(unit);
  const at::Tensor modulation = weights.modulation.to(at::kFloat) + streams.time.embedding;  // [2, dim]
  std::vector<at::Tensor> predictions;
  for (const at::Tensor& x : streams.x) {
    const at::Tensor input =
        kernels::layer_norm_modulate(x, modulation[1], modulation[0], config_.eps, at::kFloat);
    const at::Tensor head = at::linear(input, weights.weight.to(at::kFloat), weights.bias.to(at::kFloat));
    if (context.probe) context.probe("head", head);
    // The official unpatchify rounds, and guidance then subtracts rounded predictions (spec 5.9).
    const bool rounds = weights.weight.scalar_type() == at::kBFloat16;
    const at::Tensor prediction = rounds ? head.to(at::kBFloat16).to(at::kFloat) : head;
    predictions.push_back(head_to_patch_order(prediction));  // [local_tokens, out_dim * 4]
  }
  weights_.end(head_unit());
  return predictions;
}

}  // namespace wan::dit
