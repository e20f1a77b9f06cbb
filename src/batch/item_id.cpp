#include "batch/item_id.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "batch/text.h"
#include "core/check.h"
#include "core/checksum.h"
#include "core/parse_value.h"

namespace wan::batch {
namespace {

constexpr std::size_t max_hint_bytes = 48;

bool is_safe(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x80 && (std::isalnum(byte) != 0 || c == '.' || c == '_' || c == '-');
}

}  // namespace

void check_id(std::string_view id) {
  constexpr std::array<std::string_view, 2> reserved{"run", "trace"};
  const std::string shown = printable(id, 80);
  if (id.empty()) fail<ValueError>("the id is empty");
  if (id.size() > max_id_bytes) {
    fail<ValueError>("id '{}' is {} bytes long; at most {} are allowed", shown, id.size(), max_id_bytes);
  }
  if (const auto bad = std::ranges::find_if_not(id, is_safe); bad != id.end()) {
    fail<ValueError>(
        "id '{}' has an unsafe character at position {}; use letters A-Z a-z, digits, '.', '_' and '-'",
        shown, bad - id.begin() + 1);
  }
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
  for (const char c : hint) {
    if (stem.size() == max_hint_bytes) break;
    if (is_safe(c) && !(stem.empty() && (c == '.' || c == '-'))) {
      stem += c;
    } else if (!stem.empty() && stem.back() != '_') {
      stem += '_';  // one for a run of unsafe characters
    }
  }
  while (!stem.empty() && stem.back() == '_') stem.pop_back();
  if (stem.empty()) stem = "item";
  return fmt::format("{}-{}", stem, sha256_hex(values).substr(0, 8));
}

}  // namespace wan::batch
