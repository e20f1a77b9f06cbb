#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace wan::batch {

/// Byte offset of the first byte that is not part of well-formed UTF-8; nothing if all of it is.
std::optional<std::size_t> first_invalid_utf8(std::string_view text);

/// Text for one line of a terminal: control characters and ill-formed bytes become \xNN, and what is longer
/// than `max_bytes` is cut with an ellipsis. Messages quote untrusted input only through this.
std::string printable(std::string_view text, std::size_t max_bytes = 400);

/// Without leading and trailing spaces and tabs.
std::string_view trim(std::string_view text);

/// The candidate with the fewest edits to `text`; nothing if none is near enough to be a slip of the pen.
std::optional<std::string_view> nearest_name(std::string_view text,
                                             std::span<const std::string_view> candidates);

/// One argument as a POSIX shell reads it back.
std::string shell_quote(std::string_view argument);

/// 32 hex digits from the system's random source.
std::string random_token();

/// Whether a text looks like one of random_token()'s.
bool is_token(std::string_view text);

}  // namespace wan::batch
