#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace wan::text {

/// One row of the vocabulary. Its position is its id.
struct VocabularyPiece {
  std::string text;  ///< UTF-8, with U+2581 for a leading space; not empty, without NUL
  float score;       ///< log probability
};

/// The unigram language model: finds the segmentation of a word with the highest sum of scores. These are
/// encoding steps 3 and 4 (model.md 2.5). The sentencepiece library does the work.
///
/// Limit: the library adds scores in single precision, the reference's fast tokenizer in double. If
/// segmentations tie, rounding may choose another one. Measured: 433 of 30,000 adversarial texts get other
/// ids. All differ by ties in runs of one letter: the same pieces in another order, for example `ooo` as `o
/// oo` or `oo o`.
class Unigram {
 public:
  /// `unknown_id` is the id of text without a piece. With `byte_fallback`, such text becomes the pieces
  /// `<0xNN>` of its bytes, if all of them exist. Throws Error with the library's message, for example if two
  /// pieces are equal.
  Unigram(const std::vector<VocabularyPiece>& vocabulary, std::int64_t unknown_id, bool byte_fallback);
  Unigram(const Unigram&) = delete;
  Unigram(Unigram&&) = delete;
  Unigram& operator=(const Unigram&) = delete;
  Unigram& operator=(Unigram&&) = delete;
  ~Unigram();

  /// Appends the ids of `word`, unchanged: no prefix is added, nothing is normalized. A run of unknown
  /// characters gives one unknown id. `word` must be valid UTF-8. Throws Error with the library's message.
  void segment(std::string_view word, std::vector<std::int64_t>& ids) const;

 private:
  std::vector<std::int64_t> find_byte_pieces() const;
  void append_unknown(std::string_view text, std::vector<std::int64_t>& ids) const;

  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  std::int64_t unknown_id_;
  std::vector<std::int64_t> byte_ids_;  ///< [256], -1 without a piece; empty without byte fallback
};

}  // namespace wan::text
