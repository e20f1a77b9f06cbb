#include "text/character_map.h"

#include <utf8proc.h>

#include "core/check.h"
#include "text/bounded_text.h"
#include "text/unicode.h"

namespace wan::text {
namespace {

constexpr std::size_t unit_bytes = 4;
constexpr std::size_t longest_whole_cluster_bytes = 5;

std::uint32_t little_endian(std::string_view bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < unit_bytes; ++i) {
    value |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return value;
}

// One unit of the double array. Bit 31 marks a value. Otherwise bits 0-7 are the label, bit 8 means "a child
// is a value", and bits 10-30 are the offset of the children, shifted by 8 if bit 9 is set.
constexpr std::uint32_t value_mask = 0x7FFFFFFF;
std::uint32_t label_of(std::uint32_t unit) { return unit & 0x800000FF; }
bool has_value(std::uint32_t unit) { return ((unit >> 8) & 1) != 0; }
std::size_t offset_of(std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }

}  // namespace

CharacterMap::CharacterMap(std::string_view blob) {
  if (blob.size() < unit_bytes)
    fail("the character map is {} bytes long, too short for its header", blob.size());
  const std::uint32_t trie_bytes = little_endian(blob);
  blob.remove_prefix(unit_bytes);
  if (trie_bytes % unit_bytes != 0 || trie_bytes == 0 || trie_bytes > blob.size()) {
    fail("the character map declares a trie of {} bytes, but has room for {}", trie_bytes, blob.size());
  }
  trie_.reserve(trie_bytes / unit_bytes);
  for (std::size_t at = 0; at < trie_bytes; at += unit_bytes) trie_.push_back(little_endian(blob.substr(at)));
  replacements_ = blob.substr(trie_bytes);
  if (encode_utf8(decode_utf8(replacements_)) != replacements_) {
    fail("the replacements of the character map are not valid UTF-8");
  }
}

std::uint32_t CharacterMap::unit(std::size_t index) const {
  if (index >= trie_.size()) {
    fail("the character map of tokenizer.json points to unit {} of {}: the file is damaged", index,
         trie_.size());
  }
  return trie_[index];
}

std::optional<std::string_view> CharacterMap::replacement(std::string_view text) const {
  std::size_t node = offset_of(unit(0));
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) return std::nullopt;
    node ^= byte;
    const std::uint32_t here = unit(node);
    if (label_of(here) != byte) return std::nullopt;
    node ^= offset_of(here);
    if (!has_value(here)) continue;
    const std::size_t begin = unit(node) & value_mask;
    const std::size_t end = replacements_.find('\0', begin);  // npos also if begin is beyond the end
    if (end == std::string::npos) {
      fail("the character map of tokenizer.json points to replacement byte {} of {}: the file is damaged",
           begin, replacements_.size());
    }
    return std::string_view(replacements_).substr(begin, end - begin);
  }
  return std::nullopt;
}

void CharacterMap::append_normalized(std::string& out, std::string_view cluster) const {
  if (cluster.size() <= longest_whole_cluster_bytes) {
    // The reference replaces the whole cluster even if the map contains only its beginning.
    if (const auto replaced = replacement(cluster)) {
      append_bounded(out, *replaced);
      return;
    }
  }
  for (const char32_t c : decode_utf8(cluster)) {
    std::string character;
    append_utf8(character, c);
    append_bounded(out, replacement(character).value_or(character));
  }
}

std::string CharacterMap::normalize(std::string_view utf8) const {
  std::string out;
  out.reserve(utf8.size());
  std::string cluster;
  char32_t previous = 0;
  utf8proc_int32_t state = 0;
  for (const char32_t c : decode_utf8(utf8)) {
    if (!cluster.empty() && utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(previous),
                                                             static_cast<utf8proc_int32_t>(c), &state)) {
      append_normalized(out, cluster);
      cluster.clear();
    }
    append_utf8(cluster, c);
    previous = c;
  }
  append_normalized(out, cluster);
  return out;
}

}  // namespace wan::text
