#include "manifest/item_id.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "core/check.h"
#include "core/checksum.h"
#include "core/parse_value.h"
#include "core/strings.h"

namespace wan::manifest {
namespace {

constexpr std::size_t max_hint_bytes = 48;

constexpr std::string_view safe_signs = "._-+=,@()[] ";

/// A code point of a text, and its length there.
struct Character {
  utf8proc_int32_t code_point = -1;  ///< -1: not UTF-8
  std::size_t bytes = 1;
};

Character first_character(std::string_view text) {
  Character first;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const auto length = utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size()), &first.code_point);
  if (length > 0) {
    first.bytes = static_cast<std::size_t>(length);
  } else {
    first.code_point = -1;
  }
  return first;
}

/// Letters, digits and signs of any script; of ASCII's signs those that mean nothing to a file system or
/// shell that matters.
bool is_safe(utf8proc_int32_t code_point) {
  if (code_point < 0) return false;
  if (code_point < 0x80) {
    const char c = static_cast<char>(code_point);
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || safe_signs.find(c) != std::string_view::npos;
  }
  switch (utf8proc_category(code_point)) {
    case UTF8PROC_CATEGORY_CC:  // control
    case UTF8PROC_CATEGORY_CF:  // format, among them the ones that turn the writing direction
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

bool is_blank(utf8proc_int32_t code_point) {
  return code_point == ' ' || (code_point >= 0x80 && utf8proc_category(code_point) == UTF8PROC_CATEGORY_ZS);
}

/// Letters, marks and digits: what an automatic id takes over beyond ASCII.
bool is_word_character(utf8proc_int32_t code_point) {
  switch (utf8proc_category(code_point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return true;
    default:
      return code_point == '.' || code_point == '_' || code_point == '-';
  }
}

void refuse_bad_characters(std::string_view id, const std::string& shown) {
  std::int64_t position = 1;
  Character c;
  for (std::string_view rest = id; !rest.empty(); rest.remove_prefix(c.bytes), ++position) {
    c = first_character(rest);
    if (!is_safe(c.code_point)) {
      fail<ValueError>(
          "id '{}' has an unsafe character at position {}; use letters and digits of any script, blanks and "
          "{}",
          shown, position, "._-+=,@()[]");
    }
    const bool is_at_end = rest.size() == c.bytes || rest.size() == id.size();
    if (is_at_end && is_blank(c.code_point)) fail<ValueError>("id '{}' begins or ends with a blank", shown);
  }
}

}  // namespace

void check_id(std::string_view id) {
  constexpr std::array<std::string_view, 2> reserved{"run", "trace"};
  const std::string shown = printable(id, 80);
  if (id.empty()) fail<ValueError>("the id is empty");
  if (id.size() > max_id_bytes) {
    fail<ValueError>("id '{}' is {} bytes long; at most {} are allowed", shown, id.size(), max_id_bytes);
  }
  refuse_bad_characters(id, shown);
  if (id.front() == '.' || id.front() == '-') fail<ValueError>("id '{}' starts with '{}'", shown, id.front());
  if (id.ends_with(".failed")) {
    fail<ValueError>("id '{}' ends with .failed, which names failure records", shown);
  }
  if (std::ranges::find(reserved, id) != reserved.end()) {
    fail<ValueError>("id '{}' is reserved for the run's own files", shown);
  }
}

std::string automatic_id(std::string_view hint, std::string_view values) {
  std::string stem;
  Character c;
  for (std::string_view rest = hint; !rest.empty(); rest.remove_prefix(c.bytes)) {
    c = first_character(rest);
    if (stem.size() + c.bytes > max_hint_bytes) break;
    const bool may_begin = c.code_point != '.' && c.code_point != '-';
    if (c.code_point >= 0 && is_word_character(c.code_point) && !(stem.empty() && !may_begin)) {
      stem += rest.substr(0, c.bytes);
    } else if (!stem.empty() && stem.back() != '_') {
      stem += '_';  // one for a run of other characters
    }
  }
  while (!stem.empty() && stem.back() == '_') stem.pop_back();
  if (stem.empty()) stem = "item";
  return fmt::format("{}-{}", stem, sha256_hex(values).substr(0, 8));
}

}  // namespace wan::manifest
