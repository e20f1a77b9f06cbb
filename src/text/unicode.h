#pragma once

#include <string>
#include <string_view>

namespace wan::text {

/// UTF-8 to code points. Every byte that is not part of valid UTF-8 (encoded surrogates included) becomes
/// U+FFFD.
std::u32string decode_utf8(std::string_view utf8);

/// Appends one code point as UTF-8. Surrogates and values above U+10FFFF become U+FFFD.
void append_utf8(std::string& utf8, char32_t code_point);

std::string encode_utf8(std::u32string_view code_points);

/// Unicode normalization forms C and KC. Throws Error if the library cannot allocate memory.
std::string to_nfc(std::string_view utf8);
std::string to_nfkc(std::string_view utf8);

/// The Unicode property White_Space (model.md 2.1). It excludes U+200B, U+2060, U+FEFF and U+180E.
bool is_white_space(char32_t code_point);

/// General category Nd.
bool is_decimal_digit(char32_t code_point);

}  // namespace wan::text
