#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_config.h"
#include "text/unigram.h"

namespace wan::text {

/// The umT5 tokenizer of a checkpoint (model.md 2.5), id for id what the reference's fast tokenizer gives up
/// to the ties that Unigram names. It is built from tokenizer.json alone, as the reference does; spiece.model
/// beside it is not read.
class Tokenizer {
 public:
  /// `folder`: `google/umt5-xxl` of the checkpoint. Throws UsageError that names the file and what is wrong.
  explicit Tokenizer(const std::filesystem::path& folder);

  /// Ids of a cleaned text (clean_prompt), `</s>` last, without padding: [1 .. max_tokens]. A longer text
  /// loses its end, never `</s>`. Strings such as `</s>` or `<extra_id_0>` in the text become their special
  /// ids, as in the reference. Throws Error if `max_tokens` leaves no room for the special ids, UsageError if
  /// the file's character map turns out to be damaged.
  std::vector<std::int64_t> encode(std::string_view cleaned, std::size_t max_tokens = 512) const;

  /// One more than the largest id that encode can give: the rows that the embedding must have at least.
  std::int64_t vocabulary_size() const { return vocabulary_size_; }

 private:
  /// A stretch of text between added tokens, or one of them.
  struct Part {
    std::string_view text;
    const AddedToken* token;  ///< nullptr for text
  };

  std::vector<Part> split_at_added_tokens(std::string_view text, bool normalized) const;
  const AddedToken* added_token_at(std::string_view text, bool normalized) const;
  std::string normalize(std::string_view text) const;
  std::vector<std::string> split_into_words(std::string_view text, bool is_first) const;
  void encode_text(std::string_view text, bool is_first, std::vector<std::int64_t>& ids) const;

  std::filesystem::path file_;
  TokenizerConfig config_;  ///< its vocabulary has gone into unigram_
  Unigram unigram_;
  std::int64_t vocabulary_size_;
};

}  // namespace wan::text
