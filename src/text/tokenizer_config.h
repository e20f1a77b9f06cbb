#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "text/character_map.h"
#include "text/unigram.h"

namespace wan::text {

/// A string that gets its own id at every place in the text.
struct AddedToken {
  std::string content;
  std::int64_t id = 0;
  bool takes_left_space = false;   ///< `lstrip`: white space before the token belongs to it
  bool takes_right_space = false;  ///< `rstrip`: white space after the token belongs to it
  bool normalized = false;         ///< searched after normalization, not before
};

/// Removes white space at the ends.
struct StripStep {
  bool left;
  bool right;
};

/// Replaces a literal, or runs of two or more spaces.
struct ReplaceStep {
  std::string literal;  ///< empty: runs of two or more spaces
  std::string content;
};

using NormalizerStep = std::variant<CharacterMap, StripStep, ReplaceStep>;

/// Splits at white space and removes it.
struct WhitespaceSplitStep {};

/// Writes U+2581 for each space, puts one in front, and splits before each.
struct MetaspaceStep {
  enum class Prepend { always, first, never };
  Prepend prepend;
  bool split;
};

using PreTokenizerStep = std::variant<WhitespaceSplitStep, MetaspaceStep>;

/// The content of tokenizer.json (model.md 2.5).
struct TokenizerConfig {
  std::vector<AddedToken> added_tokens;
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  std::vector<VocabularyPiece> vocabulary;
  std::int64_t unknown_id = 0;
  bool byte_fallback = false;
  std::vector<std::int64_t> ids_before;  ///< special ids that the post-processor puts before a text
  std::vector<std::int64_t> ids_after;
};

/// Reads tokenizer.json. Throws UsageError with the file and the entry that is malformed, or needs another
/// method than the T5 family's unigram tokenization.
TokenizerConfig read_tokenizer_config(const std::filesystem::path& path);

}  // namespace wan::text
