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

namespace wan::engine {

/// Prompts to embeddings: cleaning, tokens, umT5 encoder, and a cache so that each distinct text is encoded
/// once.
class TextStage {
 public:
  /// Throws UsageError if tokenizer and encoder do not belong together.
  TextStage(const std::filesystem::path& tokenizer_folder, TextEncoderModel model,
            const TextEncoderOptions& options, comm::Communicator& group);

  std::int64_t dim() const { return encoder_.config().dim; }  ///< width of an embedding

  /// Local and cheap. The cleaned text; throws ItemError if nothing is left of it.
  static std::string cleaned_prompt(const std::string& prompt);

  /// Texts that will be asked for, cleaned, soonest first, the same on every rank of the group: an encoder
  /// whose weights do not stay in memory takes some of them along when it is loaded for another.
  void expect(std::vector<std::string> cleaned);
  const std::vector<std::string>& expected() const { return expected_; }

  // The three stages of encoding. Each is to be called once the one before has succeeded on all ranks. Where
  // one runs out of memory on a rank (c10::OutOfMemoryError), that rank has still taken part in the group's
  // collectives; then release() is to be called on all ranks.
  /// Reads the encoder's weights if one of the cleaned texts is not known yet. No collective.
  void load_for(const std::vector<std::string>& cleaned);
  /// Collective over the group: takes what memory the weights are gathered into.
  void reserve_for(const std::vector<std::string>& cleaned);
  /// Collective over the group. Embeddings of cleaned texts: [tokens, dim] each, on the host.
  std::vector<at::Tensor> encode(const std::vector<std::string>& cleaned);

  /// Forgets all embeddings and gives all memory back that need not be held. Alike on all ranks.
  void release();

  std::int64_t encoded_texts() const { return encoded_texts_; }

 private:
  static constexpr std::size_t cache_limit = 64;  // texts; at most 8 MiB each at the full model's width
  static constexpr std::size_t ahead_limit = 32;  // texts encoded at one loading of the weights beyond need

  bool is_known(const std::string& cleaned) const { return cache_.contains(cleaned); }
  bool all_known(const std::vector<std::string>& cleaned) const;
  void encode_one(const std::string& cleaned);
  void encode_expected();

  text::Tokenizer tokenizer_;
  TextEncoder encoder_;
  bool resident_;
  struct CachedText {
    at::Tensor embedding;       ///< [tokens, dim], on the host
    std::int64_t last_use = 0;  ///< uses_ at that time
  };
  std::map<std::string, CachedText> cache_;  ///< by cleaned text; the least recently used one makes room
  std::vector<std::string> expected_;
  std::exception_ptr shortage_;  ///< of memory, in the encode() under way
  std::int64_t uses_ = 0;
  std::int64_t encoded_texts_ = 0;
};

}  // namespace wan::engine
