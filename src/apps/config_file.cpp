#include "apps/config_file.h"

#include <cstdint>

#include "core/check.h"
#include "core/parse_value.h"
#include "core/printable.h"

namespace wan::apps {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blanks = " \t\r";
  const std::size_t first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

/// Removes quotes around the whole value. Throws if there are such quotes inside: the meaning would be
/// unclear.
std::string_view unquoted(std::string_view value) {
  if (value.size() < 2) return value;
  const char quote = value.front();
  if ((quote != '"' && quote != '\'') || value.back() != quote) return value;
  const std::string_view inner = value.substr(1, value.size() - 2);
  if (inner.find(quote) != std::string_view::npos) {
    fail<ValueError>(
        "the value is in quotes and has such quotes inside; leave the outer ones out: a value goes to the "
        "end of its line");
  }
  return inner;
}

ConfigValue parse_line(std::string_view line) {
  const std::size_t equals = line.find('=');
  const std::string_view name = trimmed(line.substr(0, equals));
  if (equals == std::string_view::npos || name.empty())
    fail<ValueError>("'{}' is no option; write NAME = VALUE, one a line", printable(line, 80));
  return {.name = std::string(name), .value = std::string(unquoted(trimmed(line.substr(equals + 1))))};
}

}  // namespace

std::vector<ConfigValue> read_config_text(std::string_view text, const std::filesystem::path& path) {
  constexpr std::string_view utf8_mark = "\xEF\xBB\xBF";
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF"))
    fail<UsageError>("{} is UTF-16; save it as UTF-8", printable(path.string()));
  if (text.starts_with(utf8_mark)) text.remove_prefix(utf8_mark.size());
  std::vector<ConfigValue> values;
  for (std::int64_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    try {
      values.push_back(parse_line(line));
    } catch (const ValueError& error) {
      fail<UsageError>("{}:{}: {}", printable(path.string()), number, error.what());
    }
  }
  return values;
}

}  // namespace wan::apps
