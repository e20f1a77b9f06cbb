#include "engine/text_stage.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "comm/local.h"
#include "core/check.h"
#include "engine/parameter_reader.h"
#include "text/clean.h"

namespace wan::engine {

TextStage::TextStage(const std::filesystem::path& tokenizer_folder, const checkpoint::Checkpoint& weights,
                     bool sharded, comm::Communicator& group)
    : config_(checkpoint::read_text_encoder_config(weights)),
      tokenizer_(tokenizer_folder),
      alone_(comm::make_local("text")) {
  if (tokenizer_.vocabulary_size() > config_.vocabulary) {
    fail<UsageError>(
        "the tokenizer in {} has ids up to {}, the text encoder {} has {} embeddings: they do not belong "
        "together",
        tokenizer_folder.string(), tokenizer_.vocabulary_size() - 1, weights.source().string(),
        config_.vocabulary);
  }
  checkpoint::expect_tensors(weights, checkpoint::text_encoder_tensors(config_));
  const parallel::ParameterReader read = parameter_reader(weights);
  const checkpoint::Parameter table{
      .name = "token_embedding.weight", .shape = {config_.vocabulary, config_.dim}, .offset = 0};
  if (sharded) {
    weights_ =
        std::make_unique<parallel::ShardedWeights>(checkpoint::text_encoder_units(config_), read, group);
  } else {
    weights_ = std::make_unique<parallel::ResidentWeights>(checkpoint::text_encoder_units(config_), read);
  }
  vocabulary_ = std::make_unique<parallel::Vocabulary>(table, read, sharded ? group : *alone_);
  encoder_ = std::make_unique<text::Umt5Encoder>(
      config_, *weights_, [this](std::span<const std::int64_t> ids) { return vocabulary_->lookup(ids); });
}

std::string TextStage::cleaned_prompt(const std::string& prompt) {
  std::string cleaned = text::clean_prompt(prompt);
  if (cleaned.empty()) fail_item("text", "the prompt is empty after cleaning; write what the video shows");
  return cleaned;
}

at::Tensor TextStage::encode(const std::string& cleaned) {
  ++uses_;
  if (const auto known = cache_.find(cleaned); known != cache_.end()) {
    known->second.last_use = uses_;
    return known->second.embedding;
  }
  if (cache_.size() >= cache_limit) {
    cache_.erase(
        std::ranges::min_element(cache_, {}, [](const auto& entry) { return entry.second.last_use; }));
  }
  const std::vector<std::int64_t> ids = tokenizer_.encode(cleaned);
  at::Tensor embedding = encoder_->encode(ids);  // [tokens, dim]
  ++encoded_texts_;
  cache_.emplace(cleaned, CachedText{.embedding = embedding, .last_use = uses_});
  return embedding;
}

}  // namespace wan::engine
