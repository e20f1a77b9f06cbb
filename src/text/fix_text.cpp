#include "text/fix_text.h"

#include <algorithm>
#include <array>
#include <span>

#include "text/html_entities.h"
#include "text/unicode.h"

namespace wan::text {
namespace {

/// A segment is processed until it no longer changes, because references may be nested (`&amp;amp;`).
/// Ordinary text needs two or three rounds. The bound stops text that is made to need thousands.
constexpr int most_rounds = 100;

struct Ligature {
  char32_t from;
  std::u32string_view to;
};

constexpr std::array ligatures{
    Ligature{0x0132, U"IJ"},      Ligature{0x0133, U"ij"},      Ligature{0x0149, U"\u02BCn"},
    Ligature{0x01C4, U"D\u017D"}, Ligature{0x01C5, U"D\u017E"}, Ligature{0x01C6, U"d\u017E"},
    Ligature{0x01C7, U"LJ"},      Ligature{0x01C8, U"Lj"},      Ligature{0x01C9, U"lj"},
    Ligature{0x01CA, U"NJ"},      Ligature{0x01CB, U"Nj"},      Ligature{0x01CC, U"nj"},
    Ligature{0x01F1, U"DZ"},      Ligature{0x01F2, U"Dz"},      Ligature{0x01F3, U"dz"},
    Ligature{0xFB00, U"ff"},      Ligature{0xFB01, U"fi"},      Ligature{0xFB02, U"fl"},
    Ligature{0xFB03, U"ffi"},     Ligature{0xFB04, U"ffl"},     Ligature{0xFB05, U"\u017Ft"},
    Ligature{0xFB06, U"st"}};

/// Step 5: the usual form of a full-width or half-width character.
std::u32string usual_width(char32_t c) {
  if (c == 0x3000) return U" ";
  if (c < 0xFF01 || c > 0xFFEF) return {c};
  std::string utf8;
  append_utf8(utf8, c);
  return decode_utf8(to_nfkc(utf8));
}

/// Step 6.
char32_t straight_quote(char32_t c) {
  if (c == 0x02BC || (c >= 0x2018 && c <= 0x201B)) return '\'';
  if (c >= 0x201C && c <= 0x201F) return '"';
  return c;
}

/// Step 10.
bool is_removed_control(char32_t c) {
  return c <= 0x08 || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || (c >= 0x206A && c <= 0x206F) ||
         c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFC);
}

/// Steps 3 to 6, each of which looks at one character.
std::u32string replace_characters(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (const char32_t original : text) {
    const char32_t c = windows_1252_character(original);
    const auto ligature = std::ranges::lower_bound(ligatures, c, {}, &Ligature::from);
    const bool is_ligature = ligature != ligatures.end() && ligature->from == c;
    const std::u32string replaced = is_ligature ? std::u32string(ligature->to) : usual_width(c);
    std::ranges::transform(replaced, std::back_inserter(out), straight_quote);
  }
  return out;
}

/// Step 7.
std::u32string unify_line_breaks(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    if (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;  // the '\n' follows
    out.push_back(c == '\r' || c == 0x2028 || c == 0x2029 || c == 0x85 ? U'\n' : c);
  }
  return out;
}

/// The number of characters of a terminal escape `ESC [ digits and semicolons, letter` at the start of the
/// text; 0 if there is none.
std::size_t terminal_escape_length(std::u32string_view text) {
  if (text.size() < 3 || text[0] != 0x1B || text[1] != '[') return 0;
  std::size_t end = 2;
  while (end < text.size() && (text[end] == ';' || is_decimal_digit(text[end]))) ++end;
  if (end == text.size()) return 0;
  const char32_t c = text[end];
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ? end + 1 : 0;
}

/// Steps 9 and 10.
std::u32string remove_controls(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t escape = terminal_escape_length(text);
    if (escape == 0 && !is_removed_control(text[0])) out.push_back(text[0]);
    text.remove_prefix(std::max<std::size_t>(escape, 1));
  }
  return out;
}

std::string fix_segment(std::string segment, bool decode_html) {
  for (int round = 0; round < most_rounds; ++round) {
    std::u32string text = decode_utf8(decode_html ? unescape_certain_html(segment) : segment);
    text = remove_controls(unify_line_breaks(replace_characters(text)));
    std::string fixed = to_nfc(encode_utf8(text));
    if (fixed == segment) break;
    segment = std::move(fixed);
  }
  return segment;
}

}  // namespace

std::string fix_text(std::string_view utf8) {
  std::string out;
  bool decode_html = true;
  while (!utf8.empty()) {
    const std::size_t line_break = utf8.find('\n');
    const std::string_view segment =
        utf8.substr(0, line_break == std::string_view::npos ? utf8.size() : line_break + 1);
    decode_html = decode_html && segment.find('<') == std::string_view::npos;
    out += fix_segment(std::string(segment), decode_html);
    utf8.remove_prefix(segment.size());
  }
  return out;
}

}  // namespace wan::text
