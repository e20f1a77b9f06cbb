#include "text/clean.h"

#include "core/check.h"
#include "text/fix_text.h"
#include "text/html_entities.h"
#include "text/unicode.h"

namespace wan::text {
namespace {

std::string collapse_white_space(std::string_view utf8) {
  std::string out;
  bool gap = false;
  for (const char32_t c : decode_utf8(utf8)) {
    if (is_white_space(c)) {
      gap = true;
      continue;
    }
    if (gap && !out.empty()) out += ' ';
    gap = false;
    append_utf8(out, c);
  }
  return out;
}

}  // namespace

std::string clean_prompt(std::string_view utf8) {
  if (utf8.size() > longest_prompt_bytes) {
    fail_item("text", "the prompt is {} bytes long; at most {} are allowed: shorten it", utf8.size(),
              longest_prompt_bytes);
  }
  return collapse_white_space(unescape_html(unescape_html(fix_text(utf8))));
}

}  // namespace wan::text
