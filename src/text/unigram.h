#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace wan::text {

/// One row of the vocabulary; its id is its position.
struct VocabularyPiece {
  std::string text;  ///< UTF-8, U+2581 for a leading space
  float score;       ///< log probability
};

/// The unigram language model: the segmentation of a word with the highest sum of scores (spec 2.5, encoding
/// steps 3 and 4), done by the sentencepiece library.
class Unigram {
 public:
  /// `unknown_id` names the piece that stands for text without a piece. `byte_fallback`: such text becomes
  /// its bytes' pieces `<0xNN>` where all are there. Throws Error with the library's message.
  Unigram(std::span<const VocabularyPiece> vocabulary, std::int64_t unknown_id, bool byte_fallback);
  Unigram(const Unigram&) = delete;
  Unigram& operator=(const Unigram&) = delete;
  ~Unigram();

  /// Appends the ids of `word`, taken as it is: no prefix is added, nothing normalized. A run of unknown
  /// characters gives one unknown id.
  void segment(std::string_view word, std::vector<std::int64_t>& ids) const;

 private:
  void append_unknown(std::string_view text, std::vector<std::int64_t>& ids) const;

  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  std::vector<std::int64_t> byte_ids_;  ///< [256] for byte fallback; empty without it
  std::int64_t unknown_id_;
};

}  // namespace wan::text
