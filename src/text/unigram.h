#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace wan::text {

/// One row of the vocabulary; its id is its position.
struct VocabularyPiece {
  std::string text;  ///< UTF-8, U+2581 for a leading space
  double score;      ///< log probability
};

/// The unigram language model: the segmentation of a word with the highest sum of scores (spec 2.5, encoding
/// steps 3 and 4). Own code because the sentencepiece library sums in single precision: runs of one letter
/// have many segmentations of equal score, and rounding decides which of them wins.
class Unigram {
 public:
  /// `unknown_id` names the piece that stands for text without a piece. `byte_fallback`: such text becomes
  /// its bytes' pieces `<0xNN>` where all are there. Of equal pieces the last counts. Throws Error if there
  /// is no such id.
  Unigram(std::vector<VocabularyPiece> vocabulary, std::int64_t unknown_id, bool byte_fallback);

  /// Appends the ids of `word`, taken as it is: no prefix is added, nothing normalized. A run of unknown
  /// characters gives one unknown id. `word` must be valid UTF-8.
  void segment(std::string_view word, std::vector<std::int64_t>& ids) const;

  std::int64_t size() const { return size_; }

 private:
  struct Entry {
    std::string text;
    double score;
    std::int64_t id;
  };
  /// The best segmentation of the first bytes of a word, by its last piece.
  struct Node {
    double score = 0;
    std::size_t begin = 0;  ///< byte where the last piece begins
    std::int64_t id = -1;   ///< -1: not reached
  };

  std::vector<Node> best_segmentations(std::string_view word) const;
  bool offer_pieces(std::string_view word, std::size_t begin, std::vector<Node>& nodes) const;
  void append_unknown(std::string_view text, std::vector<std::int64_t>& ids) const;
  std::vector<std::int64_t> find_byte_pieces() const;

  std::int64_t size_;
  std::int64_t unknown_id_;
  double unknown_score_ = 0;
  std::vector<Entry> entries_;          ///< sorted by the bytes of the text, no two alike
  std::vector<std::int64_t> byte_ids_;  ///< [256], -1 without a piece; empty without byte fallback
};

}  // namespace wan::text
