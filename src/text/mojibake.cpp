#include "text/mojibake.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "text/html_entities.h"
#include "text/unicode.h"

namespace wan::text {
namespace {

/// Bytes 80 to FF.
using EncodingTable = std::array<char32_t, 128>;

enum class Encoding : std::size_t { cp1250, cp1251, cp1253, cp1254, cp1257, latin_2, mac_roman, cp437 };
constexpr std::array encodings{Encoding::cp1250, Encoding::cp1251,  Encoding::cp1253,    Encoding::cp1254,
                               Encoding::cp1257, Encoding::latin_2, Encoding::mac_roman, Encoding::cp437};

// clang-format off
constexpr std::array<EncodingTable, encodings.size()> tables{
#include "text/mojibake_tables.inc"
};
// clang-format on

/// The byte that this encoding reads as the character `c`.
std::optional<std::uint8_t> byte_of(Encoding encoding, char32_t c) {
  const EncodingTable& table = tables.at(static_cast<std::size_t>(encoding));
  const auto found = std::ranges::find(table, c);
  if (found == table.end()) return std::nullopt;
  return static_cast<std::uint8_t>(0x80 + (found - table.begin()));
}

/// The number of bytes of a UTF-8 sequence that begins with this byte; 0 if none does.
std::size_t sequence_length(std::uint8_t lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  return lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
}

/// Non-ASCII characters that are likely in prompts. If bytes decode to such a character as UTF-8, the other
/// reading was probably not intended.
bool is_likely(char32_t c) {
  constexpr std::array<std::pair<char32_t, char32_t>, 25> ranges{
      {{0xA0, 0xB3},     {0xB5, 0x17F},      {0x386, 0x3CE},   {0x401, 0x45F},   {0x490, 0x491},
       {0x5D0, 0x5EA},   {0x620, 0x64A},     {0x900, 0x97F},   {0xE00, 0xE5B},   {0x1EA0, 0x1EF9},
       {0x2010, 0x2027}, {0x2030, 0x203A},   {0x20AC, 0x20AC}, {0x2122, 0x2122}, {0x2190, 0x21FF},
       {0x2600, 0x27BF}, {0x3000, 0x30FF},   {0x4E00, 0x9FFF}, {0xAC00, 0xD7A3}, {0xFE0F, 0xFE0F},
       {0xFF00, 0xFFEF}, {0x1F300, 0x1FAFF}, {0x110, 0x111},   {0x1A0, 0x1A1},   {0x1AF, 0x1B0}}};
  return std::ranges::any_of(ranges,
                             [c](const auto& range) { return c >= range.first && c <= range.second; });
}

/// Punctuation that occurs directly beside a letter in ordinary text.
bool is_ordinary(char32_t c, Encoding encoding) {
  if (encoding == Encoding::cp1253 && (c == 0x384 || c == 0x385)) return true;  // Greek numerals
  return std::u32string_view(U"»«”“’‘„‚…—–›‹!\u00A0").find(c) != std::u32string_view::npos;
}

/// A sign that does not occur inside a word: ©, °, ¼, ┬, a control character.
bool is_sign(char32_t c, Encoding encoding) {
  if (is_ordinary(c, encoding)) return false;
  if ((c >= 0x80 && c < 0xA0) || c == 0xB5 || c == 0xAD || c == 0xAA || c == 0xBA) return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
    case UTF8PROC_CATEGORY_NO:
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return true;
    default:
      return false;
  }
}

bool is_ascii_letter(char32_t c) { return c < 0x80 && std::isalpha(static_cast<unsigned char>(c)) != 0; }

/// Several characters that form one character if their bytes are read as UTF-8.
struct Suspect {
  std::u32string_view characters;
  std::uint8_t lead = 0;
  char32_t meant = 0;
  bool touches_ascii_letter = false;
};

std::optional<Suspect> suspect_at(std::u32string_view text, std::size_t at, Encoding encoding) {
  const auto lead = byte_of(encoding, text[at]);
  const std::size_t length = lead ? sequence_length(*lead) : 0;
  if (length == 0 || at + length > text.size()) return std::nullopt;
  std::string bytes;
  for (const char32_t c : text.substr(at, length)) {
    const auto byte = byte_of(encoding, c);
    if (!byte) return std::nullopt;
    bytes.push_back(static_cast<char>(*byte));
  }
  const std::u32string meant = decode_utf8(bytes);
  if (meant.size() != 1 || !is_likely(meant.front())) return std::nullopt;
  const bool before = at > 0 && is_ascii_letter(text[at - 1]);
  const bool after = at + length < text.size() && is_ascii_letter(text[at + length]);
  return Suspect{.characters = text.substr(at, length),
                 .lead = *lead,
                 .meant = meant.front(),
                 .touches_ascii_letter = before || after};
}

/// Whether one such sequence is enough, because no language has these letters and signs in a row.
bool is_certain(const Suspect& suspect, Encoding encoding) {
  const char32_t first = suspect.characters.front();
  const std::u32string_view rest = suspect.characters.substr(1);
  const bool has_sign = std::ranges::any_of(rest, [&](char32_t c) { return is_sign(c, encoding); });
  const bool is_apostrophe =
      suspect.meant >= 0x2010 && suspect.meant <= 0x2027 && suspect.touches_ascii_letter;
  if (is_ordinary(first, encoding)) return is_apostrophe;
  if (encoding == Encoding::cp437) return true;  // box-drawing characters, or Greek letters before Latin ones
  if (has_sign) return true;
  if (encoding == Encoding::mac_roman)
    return rest.size() > 1 || (is_sign(first, encoding) && suspect.touches_ascii_letter);
  if (encoding == Encoding::cp1251 || encoding == Encoding::cp1253) return suspect.touches_ascii_letter;
  const bool ends_ordinarily =
      std::ranges::all_of(rest, [&](char32_t c) { return is_ordinary(c, encoding); });
  if (suspect.lead == 0xC3 && rest == U"\u00A0") return true;  // an "à" at the end of a word
  return suspect.lead >= 0xC3 && suspect.lead <= 0xC5 && !ends_ordinarily;
}

/// Whether the text has one certain sequence, or most of its non-ASCII characters are in sequences.
bool was_read_as(Encoding encoding, std::u32string_view text) {
  constexpr std::size_t fewest = 3;
  const auto others =
      static_cast<std::size_t>(std::ranges::count_if(text, [](char32_t c) { return c >= 0x80; }));
  std::size_t sequences = 0;
  std::size_t characters = 0;
  for (std::size_t i = 0; i < text.size();) {
    const auto suspect = text[i] >= 0x80 ? suspect_at(text, i, encoding) : std::nullopt;
    if (!suspect) {
      ++i;
      continue;
    }
    if (is_certain(*suspect, encoding)) return true;
    ++sequences;
    characters += suspect->characters.size();
    i += suspect->characters.size();
  }
  return sequences >= fewest && 5 * characters >= 4 * others;
}

/// The byte that Windows-1252 (or Latin-1, for its controls) reads as this character.
std::optional<std::uint8_t> windows_1252_byte(char32_t c) {
  for (std::uint8_t byte = 0x80; byte <= 0x9F; ++byte) {
    if (c == byte || c == windows_1252_character(byte)) return byte;
  }
  if (c >= 0xA0 && c <= 0xFF) return static_cast<std::uint8_t>(c);
  return std::nullopt;
}

/// The number of bytes of a UTF-8 sequence that starts with this byte, if such a character is suspect. Lead
/// bytes C6..CD and DC..DF are left out: as capitals (Æ Ç È É ... Ü) they end ordinary words before a closing
/// guillemet or an ellipsis.
std::size_t suspect_sequence_length(std::uint8_t lead) {
  const bool ends_words = (lead >= 0xC6 && lead <= 0xCD) || (lead >= 0xDC && lead <= 0xDF);
  return ends_words ? 0 : sequence_length(lead);
}

bool is_windows_1252_sequence(std::u32string_view text) {
  const auto lead = windows_1252_byte(text[0]);
  const std::size_t length = lead ? suspect_sequence_length(*lead) : 0;
  if (length == 0 || length > text.size()) return false;
  std::string bytes;
  for (const char32_t c : text.substr(0, length)) {
    const auto byte = windows_1252_byte(c);
    if (!byte) return false;
    bytes.push_back(static_cast<char>(*byte));
  }
  const std::u32string meant = decode_utf8(bytes);
  return meant.size() == 1 && is_likely(meant.front());
}

}  // namespace

bool looks_like_mojibake(std::string_view utf8) {
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  if (std::ranges::all_of(utf8, is_ascii)) return false;
  const std::u32string text = decode_utf8(utf8);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] >= 0x80 && is_windows_1252_sequence(std::u32string_view(text).substr(i))) return true;
  }
  return std::ranges::any_of(encodings, [&](Encoding encoding) { return was_read_as(encoding, text); });
}

}  // namespace wan::text
