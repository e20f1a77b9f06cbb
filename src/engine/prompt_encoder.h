#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <exception>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/text_encoder.h"
#include "text/tokenizer.h"
#include "wan/engine.h"

namespace wan::engine {

/// Prompts to embeddings: cleaning, tokens, umT5 encoder, and a cache so that each distinct text is encoded
/// once.
class PromptEncoder {
 public:
  /// `shards`: as for TextEncoder. Throws UsageError if tokenizer and encoder do not belong together.
  PromptEncoder(const std::filesystem::path& tokenizer_folder, TextEncoderModel model,
                const EncoderOptions& options, comm::Communicator& group,
                std::shared_ptr<parallel::WeightShards> shards = nullptr);

  std::int64_t dim() const { return encoder_.config().dim; }  ///< width of an embedding

  const text::Tokenizer& tokenizer() const { return tokenizer_; }

  /// Local and cheap. The cleaned text; throws ItemError if nothing is left of it.
  static std::string cleaned_prompt(const std::string& prompt);
  /// Likewise of a negative prompt, which is the default one if nothing is left, as in the official code.
  static std::string cleaned_negative_prompt(const std::string& prompt);

  /// The ends of the request's texts that the encoder does not see. Local.
  std::vector<LostText> lost_texts(const Request& request) const;

  /// Whether the encoder's weights have to be read for these cleaned texts, and will be let go of again: then
  /// it pays to encode others with them.
  bool has_to_load(const std::vector<std::string>& cleaned) const {
    return !keeps_weights_ && !all_known(cleaned);
  }

  // Encoding in three calls. Call each once the one before has succeeded on all ranks. Where
  // one runs out of memory on a rank (c10::OutOfMemoryError), that rank has still taken part in the group's
  // collectives; then release() is to be called on all ranks.
  /// Reads the encoder's weights if one of the cleaned texts is not known yet. No collective.
  void load_for(const std::vector<std::string>& cleaned);
  /// Collective over the group: takes what memory the weights are gathered into.
  void reserve_for(const std::vector<std::string>& cleaned);
  /// Collective over the group. Embeddings of cleaned texts: [tokens, dim] each, on the host. `ahead`:
  /// cleaned texts that will be asked for, soonest first, the same on every rank of the group; where weights
  /// were read, those of them that are not known yet are encoded too, as far as there is room for them.
  std::vector<at::Tensor> encode(const std::vector<std::string>& cleaned,
                                 const std::vector<std::string>& ahead = {});

  /// Forgets all embeddings and gives all memory back that need not be held. Alike on all ranks.
  void release();

  std::int64_t encoded_texts() const { return encoded_texts_; }
  std::int64_t loads() const { return encoder_.loads(); }

 private:
  /// Host memory for embeddings. At the full model's width a text takes 8 MiB at most, and 0.8 MB as prompts
  /// are.
  static constexpr std::int64_t cache_limit_bytes = std::int64_t{1} << 30;

  bool is_known(const std::string& cleaned) const { return cache_.contains(cleaned); }
  bool all_known(const std::vector<std::string>& cleaned) const;
  /// Lets go of the texts that were used longest ago until there is room for so many bytes; of none that were
  /// used after `kept_since`. False if that is not enough.
  bool make_room(std::int64_t bytes, std::int64_t kept_since);
  void encode_one(const std::string& cleaned, const std::vector<std::int64_t>& ids);
  void encode_ahead(const std::vector<std::string>& ahead, std::int64_t kept_since);

  text::Tokenizer tokenizer_;
  TextEncoder encoder_;
  bool keeps_weights_;
  struct CachedText {
    at::Tensor embedding;  ///< [tokens, dim], on the host
    std::int64_t bytes = 0;
    std::int64_t last_use = 0;  ///< uses_ at that time
  };
  std::map<std::string, CachedText> cache_;  ///< by cleaned text; the least recently used one makes room
  std::int64_t cache_bytes_ = 0;             ///< of all of them
  std::exception_ptr shortage_;              ///< of memory, in the encode() under way
  std::int64_t uses_ = 0;
  std::int64_t encoded_texts_ = 0;
};

}  // namespace wan::engine
