#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace wan::apps {

struct ConfigValue {
  std::string name;
  std::string value;
};

/// Reads the NAME = VALUE lines of a configuration file. A # starts a comment at the start of a line only.
/// Quotes around a whole value are dropped. A byte order mark and CRLF are accepted. `path` is for messages.
/// Throws UsageError with file and line.
std::vector<ConfigValue> read_config_text(std::string_view text, const std::filesystem::path& path);

}  // namespace wan::apps
