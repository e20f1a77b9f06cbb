#include "core/printable.h"

#include <fmt/format.h>

#include "core/utf8.h"

namespace wan {
std::optional<std::size_t> first_invalid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint next = first_code_point(text.substr(at));
    if (next.value < 0) return at;
    at += next.bytes;
  }
  return std::nullopt;
}

std::string printable(std::string_view text, std::size_t max_bytes) {
  std::string shown;
  while (!text.empty()) {
    if (shown.size() >= max_bytes) return shown + "...";
    const CodePoint next = first_code_point(text);
    if (next.value >= 0 && is_visible(next.value)) {
      shown += text.substr(0, next.bytes);
    } else {
      for (const char byte : text.substr(0, next.bytes)) {
        shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
      }
    }
    text.remove_prefix(next.bytes);
  }
  return shown;
}

std::string printable_lines(std::string_view text, std::size_t max_bytes_per_line) {
  std::string shown;
  while (true) {
    const std::size_t end = text.find('\n');
    shown += printable(text.substr(0, end), max_bytes_per_line);
    if (end == std::string_view::npos) return shown;
    shown += '\n';
    text.remove_prefix(end + 1);
  }
}

}  // namespace wan
