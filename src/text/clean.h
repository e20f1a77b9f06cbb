#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "text/mojibake.h"  // part of this header's interface

namespace wan::text {

/// The longest prompt that is cleaned. The encoder sees at most 511 pieces, rarely longer than 16 characters,
/// so a longer prompt is a mistake. The bound keeps normalization fast, which is quadratic in runs of
/// combining marks.
inline constexpr std::size_t longest_prompt_bytes = std::size_t{64} * 1024;

/// Returns the tokenizer's input for a prompt (model.md 2.1), without mojibake repair. Damage is fixed,
/// character references are decoded, every run of white space becomes one space, and the ends have none. The
/// result is always valid UTF-8; invalid input becomes U+FFFD. Throws ItemError("text") for more than
/// `longest_prompt_bytes`.
std::string clean_prompt(std::string_view utf8);

}  // namespace wan::text
