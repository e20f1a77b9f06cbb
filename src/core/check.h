#pragma once

#include <fmt/format.h>

#include "wan/error.h"

namespace wan {

/// Throws `ErrorType` with a formatted message.
template <typename ErrorType = Error, typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw ErrorType(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws ItemError for a stage with a formatted message.
template <typename... Args>
[[noreturn]] void fail_item(const char* stage, fmt::format_string<Args...> format, Args&&... args) {
  throw ItemError(stage, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace wan

/// Checks a condition that only a bug of this program can break. The message names the place and the
/// condition.
#define WAN_CHECK(condition, ...)                                                                 \
  do {                                                                                            \
    if (!(condition))                                                                             \
      throw ::wan::Error(fmt::format("{}:{}: internal check '{}' failed: {}", __FILE__, __LINE__, \
                                     #condition, fmt::format(__VA_ARGS__)));                      \
  } while (false)
