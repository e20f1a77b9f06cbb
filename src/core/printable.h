#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace wan {

/// Byte offset of the first byte that is not part of well-formed UTF-8. Nothing if the whole text is
/// well-formed.
std::optional<std::size_t> first_invalid_utf8(std::string_view text);

/// Text for one line of a terminal. Control characters and ill-formed bytes become \xNN. A text longer than
/// `max_bytes` is cut and ends in an ellipsis. All messages quote untrusted input through this function.
std::string printable(std::string_view text, std::size_t max_bytes = 400);

/// The same for a text of several lines: line feeds stay, and each line is cut by itself.
std::string printable_lines(std::string_view text, std::size_t max_bytes_per_line = std::string_view::npos);

}  // namespace wan
