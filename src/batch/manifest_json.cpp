#include <algorithm>
#include <nlohmann/json.hpp>

#include "batch/manifest.h"
#include "batch/manifest_format.h"
#include "batch/text.h"
#include "core/check.h"

namespace wan::batch {
namespace {

using nlohmann::json;

/// 1-based column, in characters, of a byte of the line.
std::int64_t column_of(std::string_view line, std::size_t byte) {
  const std::string_view before = line.substr(0, std::min(byte, line.size()));
  return 1 + std::ranges::count_if(before,
                                   [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
}

/// Where the values of an object on one line begin, in order. Only looks for strings, colons and brackets:
/// run before the parser, it keeps deep nesting (which no manifest needs) away from it.
class ValueScanner {
 public:
  explicit ValueScanner(std::string_view line) : line_(line) { scan(); }

  bool is_nested() const { return nested_; }
  const std::vector<std::pair<std::string, std::size_t>>& values() const { return values_; }  ///< key, byte

 private:
  void scan() {
    int depth = 0;
    std::string last_string;
    for (at_ = 0; at_ < line_.size() && !nested_; ++at_) {
      const char c = line_[at_];
      if (c == '"') {
        last_string = take_string();
      } else if (c == '{' || c == '[') {
        nested_ = ++depth > 1;
      } else if (c == '}' || c == ']') {
        --depth;
      } else if (c == ':') {
        const std::size_t value = line_.find_first_not_of(" \t", at_ + 1);
        values_.emplace_back(last_string, std::min(value, line_.size()));
      }
    }
  }
  std::string take_string() {
    const std::size_t begin = ++at_;
    while (at_ < line_.size() && line_[at_] != '"') at_ += line_[at_] == '\\' ? 2 : 1;
    return std::string(line_.substr(begin, std::min(at_, line_.size()) - begin));
  }

  std::string_view line_;
  std::size_t at_ = 0;
  bool nested_ = false;
  std::vector<std::pair<std::string, std::size_t>> values_;
};

class JsonLine {
 public:
  JsonLine(std::string_view line, std::int64_t number) : line_(line), number_(number) {}

  RawRow read() {
    RawRow row{.position = {.line = number_, .column = 1}, .cells = {}, .problem = {}};
    if (line_.size() > max_value_bytes) {
      row.problem = problem_at(
          0, fmt::format("the line is {} bytes long; at most {} are read", line_.size(), max_value_bytes));
      return row;
    }
    const ValueScanner scanner(line_);
    if (scanner.is_nested()) {
      row.problem = problem_at(0, "a value is a list or an object; write texts and numbers only");
      return row;
    }
    try {
      fill(row, scanner, json::parse(line_));
    } catch (const json::exception& error) {
      row.problem = describe(error);
    }
    return row;
  }

 private:
  void fill(RawRow& row, const ValueScanner& scanner, const json& object) {
    if (!object.is_object()) {
      row.problem = problem_at(0, "not a JSON object; write one {...} per line");
      return;
    }
    if (scanner.values().size() != object.size()) row.problem = problem_at(0, "a key is given twice");
    for (const auto& [key, value] : object.items()) {
      const auto found =
          std::ranges::find(scanner.values(), key, [](const auto& entry) { return entry.first; });
      const std::size_t byte = found == scanner.values().end() ? 0 : found->second;
      const std::string_view column = known_column(key, position_at(byte));
      if (value.is_null()) continue;
      if (value.is_string() || value.is_number()) {
        std::string text = value.is_string() ? value.get<std::string>() : value.dump();
        if (!text.empty())
          row.cells.emplace(column, Cell{.text = std::move(text), .position = position_at(byte)});
      } else if (!row.problem) {
        row.problem =
            problem_at(byte, fmt::format("{} is {}; write a text or a number", column, value.dump()));
      }
    }
  }

  Problem describe(const json::exception& error) const {
    const auto* parse_error = dynamic_cast<const json::parse_error*>(&error);
    const std::size_t byte = parse_error != nullptr && parse_error->byte > 0 ? parse_error->byte - 1 : 0;
    // The library's message begins with its own name and a position in bytes; what follows the last ": " of
    // that prefix is for people.
    std::string_view message = error.what();
    if (const auto at = message.find("syntax error"); at != std::string_view::npos)
      message = message.substr(at);
    return problem_at(byte, fmt::format("not valid JSON: {}", message));
  }

  Position position_at(std::size_t byte) const { return {.line = number_, .column = column_of(line_, byte)}; }
  Problem problem_at(std::size_t byte, std::string message) const {
    return {.position = position_at(byte), .message = std::move(message)};
  }

  std::string_view line_;
  std::int64_t number_;
};

/// A column that no row has was forgotten; one that some rows lack is those rows' own error.
void check_required(const std::vector<RawRow>& rows, const std::vector<std::string_view>& required) {
  for (const std::string_view column : required) {
    const bool somewhere = std::ranges::any_of(
        rows, [&](const RawRow& row) { return row.problem || row.cells.contains(column); });
    if (!rows.empty() && !somewhere) {
      throw ManifestError(rows.front().position, fmt::format("no row has the key '{}'", column));
    }
  }
}

}  // namespace

std::vector<RawRow> read_json_rows(std::string_view text, const std::vector<std::string_view>& required) {
  std::vector<RawRow> rows;
  for (std::int64_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (trim(line).empty()) continue;
    if (std::ssize(rows) == max_manifest_rows) {
      throw ManifestError({.line = number, .column = 1},
                          fmt::format("more than {} rows; split the manifest", max_manifest_rows));
    }
    rows.push_back(JsonLine(line, number).read());
  }
  check_required(rows, required);
  return rows;
}

}  // namespace wan::batch
