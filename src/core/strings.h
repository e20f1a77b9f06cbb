#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/printable.h"

namespace wan {

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

}  // namespace wan
