#include "manifest/item_id.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "core/check.h"
#include "core/checksum.h"
#include "core/parse_value.h"
#include "core/printable.h"
#include "core/utf8.h"

namespace wan::manifest {
namespace {

constexpr std::size_t max_hint_bytes = 48;

constexpr std::string_view safe_signs = "._-+=,@()[] ";

/// Letters, digits and signs of any script. ASCII signs are safe only if they have no meaning to common file
/// systems and shells.
bool is_safe(utf8proc_int32_t code_point) {
  if (code_point < 0) return false;
  if (code_point < 0x80) {
    const char c = static_cast<char>(code_point);
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || safe_signs.find(c) != std::string_view::npos;
  }
  return is_visible(code_point) && utf8proc_category(code_point) != UTF8PROC_CATEGORY_CO;
}

bool is_blank(utf8proc_int32_t code_point) {
  return code_point == ' ' || (code_point >= 0x80 && utf8proc_category(code_point) == UTF8PROC_CATEGORY_ZS);
}

/// Letters, marks and digits: the characters that an automatic id keeps beyond ASCII.
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
  CodePoint c;
  for (std::string_view rest = id; !rest.empty(); rest.remove_prefix(c.bytes), ++position) {
    c = first_code_point(rest);
    if (!is_safe(c.value)) {
      fail<ValueError>(
          "id '{}' has an unsafe character at position {}; use letters and digits of any script, blanks and "
          "{}",
          shown, position, "._-+=,@()[]");
    }
    const bool is_at_end = rest.size() == c.bytes || rest.size() == id.size();
    if (is_at_end && is_blank(c.value)) fail<ValueError>("id '{}' begins or ends with a blank", shown);
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
  if (id.ends_with(".draft")) fail<ValueError>("id '{}' ends with .draft, which names previews", shown);
  if (std::ranges::find(reserved, id) != reserved.end()) {
    fail<ValueError>("id '{}' is reserved for the run's own files", shown);
  }
}

std::string automatic_id(std::string_view hint, std::string_view values) {
  std::string stem;
  CodePoint c;
  for (std::string_view rest = hint; !rest.empty(); rest.remove_prefix(c.bytes)) {
    c = first_code_point(rest);
    if (stem.size() + c.bytes > max_hint_bytes) break;
    const bool may_begin = c.value != '.' && c.value != '-';
    if (c.value >= 0 && is_word_character(c.value) && !(stem.empty() && !may_begin)) {
      stem += rest.substr(0, c.bytes);
    } else if (!stem.empty() && stem.back() != '_') {
      stem += '_';  // one for several other characters in a row
    }
  }
  while (!stem.empty() && stem.back() == '_') stem.pop_back();
  if (stem.empty()) stem = "item";
  return fmt::format("{}-{}", stem, sha256_hex(values).substr(0, 8));
}

}  // namespace wan::manifest
