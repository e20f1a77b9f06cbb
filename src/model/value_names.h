#pragma once

#include <optional>
#include <string_view>

namespace wan {

/// The value of a request, by its name in generate.py, that other programs or people call `name`; nothing if
/// nobody does. Both with underscores. For messages.
std::optional<std::string_view> value_called(std::string_view name);

}  // namespace wan
