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

/// The umT5 tokenizer of a checkpoint (model.md 2.5). Its ids equal those of the reference's fast tokenizer,
/// except for the ties that Unigram describes. It is built from tokenizer.json alone, as in the reference. It
/// does not read spiece.model beside that file.
class Tokenizer {
 public:
  /// `folder`: `google/umt5-xxl` of the checkpoint. Throws UsageError with the file and the error in it.
  explicit Tokenizer(const std::filesystem::path& folder);

  /// Ids of a cleaned text (clean_prompt), `</s>` last, without padding: [1 .. max_tokens]. A longer text
  /// loses its end, but never `</s>`. Strings such as `</s>` or `<extra_id_0>` in the text become their
  /// special ids, as in the reference. Throws Error if `max_tokens` leaves no room for the special ids,
  /// UsageError if the file's character map is damaged.
  std::vector<std::int64_t> encode(std::string_view cleaned, std::size_t max_tokens = 512) const;

  /// One more than the largest id that encode() can return: the fewest rows that the embedding must have.
  std::int64_t vocabulary_size() const { return vocabulary_size_; }

 private:
  /// Text between added tokens, or one added token.
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
  TokenizerConfig config_;  ///< without its vocabulary, which moved into unigram_
  Unigram unigram_;
  std::int64_t vocabulary_size_;
};

}  // namespace wan::text
