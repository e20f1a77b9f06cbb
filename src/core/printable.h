#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace wan {

/// Byte offset of the first byte that is not part of well-formed UTF-8; nothing if all of it is.
std::optional<std::size_t> first_invalid_utf8(std::string_view text);

/// Text for one line of a terminal: control characters and ill-formed bytes become \xNN, and what is longer
/// than `max_bytes` is cut with an ellipsis. Messages quote untrusted input only through this.
std::string printable(std::string_view text, std::size_t max_bytes = 400);

}  // namespace wan
