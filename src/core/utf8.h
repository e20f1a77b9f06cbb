#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace wan {

/// A code point of a text, and its length there.
struct CodePoint {
  std::int32_t value = -1;  ///< -1: the bytes are not well-formed UTF-8
  std::size_t bytes = 1;
};

/// The code point that `text` starts with. `text` is not empty.
CodePoint first_code_point(std::string_view text);

/// Whether a code point shows on a terminal and does nothing else there: no control or format character, no
/// line separator, no surrogate, and assigned.
bool is_visible(std::int32_t code_point);

}  // namespace wan
