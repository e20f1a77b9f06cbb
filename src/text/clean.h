#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "text/mojibake.h"  // belongs to the interface of cleaning

namespace wan::text {

/// Longest prompt that is cleaned. The encoder sees at most 511 pieces of rarely more than 16 characters, so
/// anything longer is a mistake; the bound keeps normalization (quadratic in runs of combining marks) quick.
inline constexpr std::size_t longest_prompt_bytes = std::size_t{64} * 1024;

/// The text that the tokenizer gets for a prompt (model.md 2.1), without mojibake repair: damage fixed,
/// character references decoded, every run of white space one space, none at the ends. Always valid UTF-8;
/// invalid input becomes U+FFFD. Throws ItemError("text") for more than `longest_prompt_bytes`.
std::string clean_prompt(std::string_view utf8);

}  // namespace wan::text
