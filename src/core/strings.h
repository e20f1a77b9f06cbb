#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/printable.h"

namespace wan {

/// The text without leading and trailing spaces and tabs.
std::string_view trim(std::string_view text);

/// The number of single-byte changes (insert, delete, replace) that turn one text into the other
/// (Levenshtein). Takes a.size() * b.size() steps.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate with the fewest edits to `text`. Nothing if no candidate is near enough to be a typing
/// error.
std::optional<std::string_view> nearest_name(std::string_view text,
                                             std::span<const std::string_view> candidates);

/// "3.2 s", "13 min", "2 h 05 min".
std::string format_duration(double seconds);

/// Quotes one argument so that a POSIX shell reads it back unchanged.
std::string shell_quote(std::string_view argument);

/// 32 hex digits from the system's random source.
std::string random_token();

/// Whether a text has the form of random_token().
bool is_token(std::string_view text);

}  // namespace wan
