#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "checkpoint/checkpoint.h"
#include "checkpoint/model_config.h"
#include "checkpoint/weight_source.h"
#include "comm/communicator.h"
#include "parallel/vocabulary.h"
#include "text/tokenizer.h"
#include "text/umt5_encoder.h"

namespace wan::engine {

/// Prompts to embeddings: cleaning, tokens, umT5 encoder, and a cache so that each distinct text is encoded
/// once.
class TextStage {
 public:
  /// `sharded`: the encoder's weights are split over `group`, else whole on this rank.
  TextStage(const std::filesystem::path& tokenizer_folder, const checkpoint::Checkpoint& weights,
            bool sharded, comm::Communicator& group);

  std::int64_t dim() const { return config_.dim; }  ///< width of an embedding

  /// Local and cheap. The cleaned text; throws ItemError if nothing is left of it.
  static std::string cleaned_prompt(const std::string& prompt);

  /// Collective over the group. Embedding of a cleaned text: [tokens, dim], fp32.
  at::Tensor encode(const std::string& cleaned);

  std::int64_t encoded_texts() const { return encoded_texts_; }

 private:
  static constexpr std::size_t cache_limit = 64;  // texts; at most 8 MiB each at the full model's width

  checkpoint::TextEncoderConfig config_;
  text::Tokenizer tokenizer_;
  std::unique_ptr<checkpoint::WeightSource> weights_;
  std::unique_ptr<parallel::Vocabulary> vocabulary_;
  std::unique_ptr<comm::Communicator> alone_;  ///< stands in for the group when the table is whole
  std::unique_ptr<text::Umt5Encoder> encoder_;
  struct CachedText {
    at::Tensor embedding;       ///< [tokens, dim]
    std::int64_t last_use = 0;  ///< uses_ at that time
  };
  std::map<std::string, CachedText> cache_;  ///< by cleaned text; the least recently used one makes room
  std::int64_t uses_ = 0;
  std::int64_t encoded_texts_ = 0;
};

}  // namespace wan::engine
