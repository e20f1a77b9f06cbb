#include "core/environment.h"

#include <unistd.h>

#include "core/parse_value.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): POSIX leaves it to the program

namespace wan {

Environment read_environment() {
  Environment variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

std::string value_of(const Environment& environment, std::string_view name) {
  const auto found = environment.find(name);
  return found == environment.end() ? std::string() : found->second;
}

std::optional<std::int64_t> number_of(const Environment& environment, std::string_view name) {
  constexpr std::int64_t largest = std::int64_t{1} << 40;
  try {
    return parse_integer(value_of(environment, name), 0, largest);
  } catch (const ValueError&) {
    return std::nullopt;
  }
}

}  // namespace wan
