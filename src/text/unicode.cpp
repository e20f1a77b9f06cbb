#include "text/unicode.h"

#include <utf8proc.h>

#include <array>
#include <cstdlib>
#include <memory>

#include "core/check.h"

namespace wan::text {
namespace {

constexpr char32_t replacement_character = 0xFFFD;

const utf8proc_uint8_t* bytes_of(std::string_view utf8) {
  return reinterpret_cast<const utf8proc_uint8_t*>(utf8.data());
}

std::string normalize(std::string_view utf8, int form) {
  struct Free {
    void operator()(utf8proc_uint8_t* memory) const {
      std::free(memory);  // NOLINT(cppcoreguidelines-owning-memory,cppcoreguidelines-no-malloc)
    }
  };
  // The library refuses invalid UTF-8, so it gets the decoded text.
  const std::string valid = encode_utf8(decode_utf8(utf8));
  utf8proc_uint8_t* result = nullptr;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE | form);
  const utf8proc_ssize_t size =
      utf8proc_map(bytes_of(valid), static_cast<utf8proc_ssize_t>(valid.size()), &result, options);
  const std::unique_ptr<utf8proc_uint8_t, Free> owner(result);
  if (size < 0) {
    fail("cannot normalize a text of {} bytes: utf8proc says {}", valid.size(), utf8proc_errmsg(size));
  }
  return {reinterpret_cast<const char*>(result), static_cast<std::size_t>(size)};
}

}  // namespace

std::u32string decode_utf8(std::string_view utf8) {
  std::u32string code_points;
  code_points.reserve(utf8.size());
  while (!utf8.empty()) {
    utf8proc_int32_t code_point = 0;
    const utf8proc_ssize_t length =
        utf8proc_iterate(bytes_of(utf8), static_cast<utf8proc_ssize_t>(utf8.size()), &code_point);
    const bool valid = length > 0;
    code_points.push_back(valid ? static_cast<char32_t>(code_point) : replacement_character);
    utf8.remove_prefix(valid ? static_cast<std::size_t>(length) : 1);
  }
  return code_points;
}

void append_utf8(std::string& utf8, char32_t code_point) {
  if (!utf8proc_codepoint_valid(static_cast<utf8proc_int32_t>(code_point))) {
    code_point = replacement_character;
  }
  std::array<utf8proc_uint8_t, 4> buffer{};
  const utf8proc_ssize_t length =
      utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), buffer.data());
  utf8.append(reinterpret_cast<const char*>(buffer.data()), static_cast<std::size_t>(length));
}

std::string encode_utf8(std::u32string_view code_points) {
  std::string utf8;
  utf8.reserve(code_points.size());
  for (const char32_t code_point : code_points) append_utf8(utf8, code_point);
  return utf8;
}

std::string to_nfc(std::string_view utf8) { return normalize(utf8, 0); }

std::string to_nfkc(std::string_view utf8) { return normalize(utf8, UTF8PROC_COMPAT); }

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_decimal_digit(char32_t code_point) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code_point)) == UTF8PROC_CATEGORY_ND;
}

}  // namespace wan::text
