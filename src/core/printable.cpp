#include "core/printable.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>

namespace wan {
namespace {

/// Length in bytes of the code point at the start of `text`; 0 if it is ill-formed.
std::size_t code_point_length(std::string_view text, utf8proc_int32_t& code_point) {
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const auto length = utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size()), &code_point);
  return length > 0 ? static_cast<std::size_t>(length) : 0;
}

bool is_shown_as_is(utf8proc_int32_t code_point) {
  switch (utf8proc_category(code_point)) {
    case UTF8PROC_CATEGORY_CC:  // control characters
    case UTF8PROC_CATEGORY_CF:  // format characters, among them those that change the writing direction
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

}  // namespace

std::optional<std::size_t> first_invalid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    utf8proc_int32_t code_point = 0;
    const std::size_t length = code_point_length(text.substr(at), code_point);
    if (length == 0) return at;
    at += length;
  }
  return std::nullopt;
}

std::string printable(std::string_view text, std::size_t max_bytes) {
  std::string shown;
  while (!text.empty()) {
    if (shown.size() >= max_bytes) return shown + "...";
    utf8proc_int32_t code_point = 0;
    std::size_t length = code_point_length(text, code_point);
    if (length > 0 && is_shown_as_is(code_point)) {
      shown += text.substr(0, length);
    } else {
      length = std::max<std::size_t>(length, 1);
      for (const char byte : text.substr(0, length)) {
        shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
      }
    }
    text.remove_prefix(length);
  }
  return shown;
}

}  // namespace wan
