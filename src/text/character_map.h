#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace wan::text {

/// The normalizer "Precompiled" of tokenizer.json: a map from character sequences to text, similar to NFKC,
/// stored as a double-array trie. It is encoding step 2 (model.md 2.5). Every index from the map is checked.
class CharacterMap {
 public:
  /// `blob`: 4-byte little-endian size of the trie, the trie, NUL-terminated replacements. Throws Error with
  /// the part that is malformed.
  explicit CharacterMap(std::string_view blob);

  /// Replaces each grapheme cluster shorter than 6 bytes by the replacement of its shortest mapped beginning.
  /// Replaces other clusters code point by code point. Text without a replacement stays. `utf8` must be valid
  /// UTF-8. Throws Error if the map points outside itself.
  std::string normalize(std::string_view utf8) const;

 private:
  std::optional<std::string_view> replacement(std::string_view text) const;
  void append_normalized(std::string& out, std::string_view cluster) const;
  std::uint32_t unit(std::size_t index) const;

  std::vector<std::uint32_t> trie_;
  std::string replacements_;
};

}  // namespace wan::text
