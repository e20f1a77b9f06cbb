#include "engine/text_encoder.h"

#include <ATen/ATen.h>

#include <array>

#include "core/check.h"
#include "text/umt5_encoder.h"

namespace wan::engine {

TextEncoder::TextEncoder(TextEncoderModel model, const EncoderOptions& options, comm::Communicator& group,
                         std::shared_ptr<parallel::WeightShards> shards)
    : model_(std::move(model)),
      options_(options),
      weights_(checkpoint::text_encoder_units(model_.config), model_.read, options, group,
               std::move(shards)) {}

at::Tensor TextEncoder::encode(std::span<const std::int64_t> ids) {
  const auto lookup = [this](std::span<const std::int64_t> of) { return read_embeddings(of); };
  return text::Umt5Encoder(model_.config, weights_.begin(), lookup).encode(ids);
}

void TextEncoder::finish_collectives(bool has_begun) {
  const auto owed = weights_.owed(has_begun);
  const auto lookup = [this](std::span<const std::int64_t> ids) {
    return parallel::outline_of({static_cast<std::int64_t>(ids.size()), model_.config.dim},
                                options_.arithmetic());
  };
  constexpr std::array<std::int64_t, 1> any_text{0};  // the collectives do not depend on the text
  text::Umt5Encoder(model_.config, *owed, lookup).encode(any_text);
}

at::Tensor TextEncoder::read_embeddings(std::span<const std::int64_t> ids) const {
  const checkpoint::TextEncoderConfig& config = model_.config;
  const checkpoint::Parameter table{
      .name = "token_embedding.weight", .shape = {config.vocabulary, config.dim}, .offset = 0};
  const at::Tensor rows =
      at::empty({static_cast<std::int64_t>(ids.size()), config.dim}, options_.arithmetic());  // [ids, dim]
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
