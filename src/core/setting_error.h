#pragma once

#include <string>
#include <string_view>

#include "core/check.h"

namespace wan {

/// A UsageError that another value of one setting mends. The message says what to change and names no option:
/// a library does not know how its program is told. The program finds its own name for the setting by
/// setting().
class SettingError : public UsageError {
 public:
  SettingError(std::string_view setting, const std::string& message)
      : UsageError(message), setting_(setting) {}
  /// In the library's words: "checkpoint folder".
  const std::string& setting() const { return setting_; }

 private:
  std::string setting_;
};

/// Throws SettingError with a formatted message.
template <typename... Args>
[[noreturn]] void fail_setting(std::string_view setting, fmt::format_string<Args...> format, Args&&... args) {
  throw SettingError(setting, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace wan
