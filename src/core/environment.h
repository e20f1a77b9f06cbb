#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace wan {

/// Environment variables by name.
using Environment = std::map<std::string, std::string, std::less<>>;

/// The variables of this process.
Environment read_environment();

/// The value of a variable; empty if it is not set.
std::string value_of(const Environment& environment, std::string_view name);

/// A variable that holds a whole number of 0 or more; nothing if it is not set or holds anything else.
std::optional<std::int64_t> number_of(const Environment& environment, std::string_view name);

}  // namespace wan
