#include "text/html_entities.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "text/unicode.h"

namespace wan::text {
namespace {

struct HtmlReference {
  std::string_view name;  ///< the name after the '&'
  std::string_view text;  ///< UTF-8
};

#include "text/html_entities_table.inc"

constexpr std::size_t longest_name = 32;          // limit of the HTML5 rule, without the ';'
constexpr std::size_t longest_certain_name = 24;  // limit of the text fixing's rule

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex_digit(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_alphanumeric(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::optional<std::string_view> find_reference(std::span<const HtmlReference> table, std::string_view name) {
  const auto found = std::ranges::lower_bound(table, name, {}, &HtmlReference::name);
  if (found == table.end() || found->name != name) return std::nullopt;
  return found->text;
}

/// Code points that a numeric reference cannot produce (HTML5 parse errors). The result is an empty text.
bool is_dropped(std::uint32_t code) {
  return (code >= 0x01 && code <= 0x08) || code == 0x0B || (code >= 0x0E && code <= 0x1F) ||
         (code >= 0x7F && code <= 0x9F) || (code >= 0xFDD0 && code <= 0xFDEF) || (code & 0xFFFE) == 0xFFFE;
}

/// The text of a numeric reference. `digits` must be valid for `base`.
std::string numeric_text(std::string_view digits, std::uint32_t base) {
  std::uint32_t code = 0;
  for (const char c : digits) {
    const std::uint32_t digit = is_digit(c)  ? static_cast<std::uint32_t>(c - '0')
                                : (c >= 'a') ? static_cast<std::uint32_t>(c - 'a' + 10)
                                             : static_cast<std::uint32_t>(c - 'A' + 10);
    // keeps this value once the number is too large
    code = std::min<std::uint32_t>(code * base + digit, 0x110000);
  }
  std::string text;
  if (code >= 0x80 && code <= 0x9F) {
    append_utf8(text, windows_1252_character(code));
  } else if (code == 0 || code > 0x10FFFF || !is_dropped(code)) {
    append_utf8(text, code == 0 ? 0xFFFD : code);
  }
  return text;
}

/// Splits the body of a numeric reference (after "&#"). The digits are empty if there are none.
struct NumericBody {
  std::string_view digits;
  std::uint32_t base;
  std::size_t length;  ///< length of the digits and the 'x', without a semicolon
};

NumericBody numeric_body(std::string_view after_hash) {
  const bool hex = !after_hash.empty() && (after_hash[0] == 'x' || after_hash[0] == 'X');
  const std::size_t begin = hex ? 1 : 0;
  std::size_t end = begin;
  while (end < after_hash.size() && (hex ? is_hex_digit(after_hash[end]) : is_digit(after_hash[end]))) ++end;
  return {after_hash.substr(begin, end - begin), hex ? 16U : 10U, end};
}

/// The decoded reference at the start of `text`, and its length in bytes. nullopt: no reference is there.
struct Decoded {
  std::string text;
  std::size_t length;
};

std::optional<Decoded> decode_certain(std::string_view text) {
  const std::size_t name_begin = text.size() > 1 && text[1] == '#' ? 2 : 1;
  std::size_t end = name_begin;
  while (end < text.size() && end - name_begin < longest_certain_name && is_alphanumeric(text[end])) ++end;
  if (end == name_begin || end == text.size() || text[end] != ';') return std::nullopt;
  const std::size_t length = end + 1;
  if (name_begin == 1) {
    const std::string_view name = text.substr(1, length - 1);
    auto found = find_reference(html5_references, name);
    if (!found) found = find_reference(shouted_references, name);
    if (!found) return std::nullopt;
    return Decoded{std::string(*found), length};
  }
  const NumericBody body = numeric_body(text.substr(2));
  if (body.digits.empty() || 2 + body.length != end) return std::nullopt;
  Decoded decoded{numeric_text(body.digits, body.base), length};
  // This rule takes a semicolon in the result as a sign of partial decoding. The HTML5 rounds decode it
  // later.
  if (decoded.text == ";") return std::nullopt;
  return decoded;
}

bool ends_name(char c) {
  return c == '\t' || c == '\n' || c == '\f' || c == ' ' || c == '<' || c == '&' || c == '#' || c == ';';
}

/// Number of bytes before the first character that no name contains, for at most `longest_name` characters.
std::size_t name_length(std::string_view text) {
  std::size_t bytes = 0;
  for (std::size_t characters = 0; bytes < text.size() && !ends_name(text[bytes]); ++bytes) {
    const bool starts_character = (static_cast<unsigned char>(text[bytes]) & 0xC0) != 0x80;
    if (starts_character && ++characters > longest_name) break;
  }
  return bytes;
}

std::optional<Decoded> decode_html5(std::string_view text) {
  if (text.size() > 1 && text[1] == '#') {
    const NumericBody body = numeric_body(text.substr(2));
    if (body.digits.empty()) return std::nullopt;
    const std::size_t end = 2 + body.length;
    const bool semicolon = end < text.size() && text[end] == ';';
    return Decoded{numeric_text(body.digits, body.base), end + (semicolon ? 1 : 0)};
  }
  const std::string_view after = text.substr(1);
  std::size_t length = name_length(after);
  if (length == 0) return std::nullopt;
  if (length < after.size() && after[length] == ';') ++length;
  // Tries the whole name first, then the longest beginning that is a name. The rest stays text.
  for (std::size_t tried = length; tried > 1; --tried) {
    if (const auto found = find_reference(html5_references, after.substr(0, tried))) {
      std::string decoded(*found);
      return Decoded{decoded.append(after.substr(tried, length - tried)), 1 + length};
    }
  }
  return std::nullopt;
}

template <typename Decode>
std::string replace_references(std::string_view utf8, Decode decode) {
  std::string out;
  out.reserve(utf8.size());
  while (!utf8.empty()) {
    const std::size_t ampersand = std::min(utf8.find('&'), utf8.size());
    out.append(utf8.substr(0, ampersand));
    utf8.remove_prefix(ampersand);
    if (utf8.empty()) break;
    if (const auto decoded = decode(utf8)) {
      out += decoded->text;
      utf8.remove_prefix(decoded->length);
    } else {
      out += '&';
      utf8.remove_prefix(1);
    }
  }
  return out;
}

}  // namespace

char32_t windows_1252_character(char32_t c1_control) {
  static constexpr std::array<char16_t, 32> characters{
      0x20AC, 0x0081, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
      0x2039, 0x0152, 0x008D, 0x017D, 0x008F, 0x0090, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
      0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x009D, 0x017E, 0x0178};
  if (c1_control < 0x80 || c1_control > 0x9F) return c1_control;
  return static_cast<char32_t>(characters.at(c1_control - 0x80));
}

std::string unescape_certain_html(std::string_view utf8) { return replace_references(utf8, decode_certain); }

std::string unescape_html(std::string_view utf8) { return replace_references(utf8, decode_html5); }

}  // namespace wan::text
