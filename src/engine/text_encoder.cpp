#include "engine/text_encoder.h"

#include <ATen/ATen.h>

#include <array>

#include "core/check.h"

namespace wan::engine {

TextEncoder::TextEncoder(TextEncoderModel model, const TextEncoderOptions& options, comm::Communicator& group,
                         std::shared_ptr<parallel::WeightShards> shards)
    : model_(std::move(model)),
      options_(options),
      group_(group),
      gathers_(group, comm::Operation::all_gather) {
  if (shards) {
    use(shards);
  } else if (options_.keeps_weights()) {
    load();
  }
}

void TextEncoder::load() {
  if (encoder_) return;
  const int parts = options_.placement.is_sharded() ? group_.size() : 1;
  const int part = options_.placement.is_sharded() ? group_.rank() : 0;
  use(std::make_shared<parallel::WeightShards>(checkpoint::text_encoder_units(model_.config), model_.read,
                                               parts, part, options_.compute));
}

void TextEncoder::use(const std::shared_ptr<parallel::WeightShards>& shards) {
  ++loads_;
  if (options_.placement.is_sharded()) {
    gather_buffers_ = std::make_shared<parallel::GatherBuffers>(shards->units(), group_, options_.compute);
    weights_ = std::make_unique<parallel::ShardedWeights>(shards, group_, gather_buffers_);
  } else {
    weights_ = std::make_unique<parallel::ResidentWeights>(shards);
  }
  encoder_ = std::make_unique<text::Umt5Encoder>(
      model_.config, *weights_, [this](std::span<const std::int64_t> ids) { return read_embeddings(ids); });
}

void TextEncoder::reserve() {
  if (gather_buffers_) gather_buffers_->reserve();
}

void TextEncoder::unload() {
  if (options_.keeps_weights()) return;
  encoder_.reset();
  weights_.reset();
  gather_buffers_.reset();
}

void TextEncoder::release() {
  unload();
  if (gather_buffers_) gather_buffers_->release();
}

at::Tensor TextEncoder::encode(std::span<const std::int64_t> ids) {
  load();
  reserve();
  gathers_ = {group_, comm::Operation::all_gather};
  return encoder_->encode(ids);
}

void TextEncoder::finish_collectives(bool has_begun) {
  const std::vector<checkpoint::UnitLayout> units = checkpoint::text_encoder_units(model_.config);
  parallel::OutlineWeights weights(*weights_, units, options_.compute.type, has_begun ? gathers_.count() : 0);
  const auto lookup = [this](std::span<const std::int64_t> ids) {
    return parallel::outline_of({static_cast<std::int64_t>(ids.size()), model_.config.dim},
                                options_.compute.type);
  };
  constexpr std::array<std::int64_t, 1> any_text{0};  // the collectives do not depend on the text
  text::Umt5Encoder(model_.config, weights, lookup).encode(any_text);
}

at::Tensor TextEncoder::read_embeddings(std::span<const std::int64_t> ids) const {
  const checkpoint::TextEncoderConfig& config = model_.config;
  const checkpoint::Parameter table{
      .name = "token_embedding.weight", .shape = {config.vocabulary, config.dim}, .offset = 0};
  const at::Tensor rows =
      at::empty({static_cast<std::int64_t>(ids.size()), config.dim}, options_.compute.type);  // [ids, dim]
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= config.vocabulary) {
      fail_item("text",
                "token id {} is beyond the text encoder's vocabulary of {}: tokenizer and checkpoint do not "
                "belong together",
                ids[i], config.vocabulary);
    }
    model_.read(table, ids[i] * config.dim, rows[static_cast<std::int64_t>(i)]);
  }
  return rows.to(options_.compute.device);
}

}  // namespace wan::engine
