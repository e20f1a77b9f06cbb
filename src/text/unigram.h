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

/// One row of the vocabulary; its id is its position.
struct VocabularyPiece {
  std::string text;  ///< UTF-8, U+2581 for a leading space; neither empty nor with a NUL
  float score;       ///< log probability
};

/// The unigram language model: finds the segmentation of a word with the highest sum of scores. These are
/// encoding steps 3 and 4 (model.md 2.5), done by the sentencepiece library.
///
/// Limit: the library adds scores in single precision, the reference's fast tokenizer in double, and where
/// segmentations tie, rounding may choose another one. Measured: 433 of 30,000 adversarial texts get other
/// ids, all by ties in runs of one letter: the same pieces in another order, as `ooo` by `o oo` or `oo o`.
class Unigram {
 public:
  /// `unknown_id` names the piece that stands for text without a piece. `byte_fallback`: such text becomes
  /// its bytes' pieces `<0xNN>` where all are there. Throws Error with the library's message, for instance if
  /// two pieces are the same.
  Unigram(const std::vector<VocabularyPiece>& vocabulary, std::int64_t unknown_id, bool byte_fallback);
  Unigram(const Unigram&) = delete;
  Unigram(Unigram&&) = delete;
  Unigram& operator=(const Unigram&) = delete;
  Unigram& operator=(Unigram&&) = delete;
  ~Unigram();

  /// Appends the ids of `word`, taken as it is: no prefix is added, nothing normalized. A run of unknown
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
