#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/check.h"
#include "core/strings.h"
#include "manifest/manifest.h"
#include "manifest/manifest_format.h"

namespace wan::manifest {
namespace {

using nlohmann::json;

constexpr std::string_view white_space = " \t\r\n";

/// The place of a byte of `text`. `text` begins at the place `begin`.
Position place_of(std::string_view text, std::size_t byte, Position begin) {
  Position place = begin;
  for (const char c : text.substr(0, std::min(byte, text.size()))) {
    if (c == '\n') {
      ++place.line;
      place.column = 1;
    } else if ((static_cast<unsigned char>(c) & 0xC0U) != 0x80U) {
      ++place.column;
    }
  }
  return place;
}

/// Position of the quote that closes the string whose opening quote is at `at`; the text's size if no quote
/// does.
std::size_t string_end(std::string_view text, std::size_t at) {
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return std::min(at, text.size());
}

/// Position behind the bracket that closes the one at `at`; nothing if no bracket does. Looks for strings and
/// brackets only, so that deep nesting does no harm.
std::optional<std::size_t> bracket_end(std::string_view text, std::size_t at) {
  std::int64_t depth = 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '"') {
      at = string_end(text, at);
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if ((c == '}' || c == ']') && --depth == 0) {
      return at + 1;
    }
  }
  return std::nullopt;
}

/// Finds where the values of an object begin, in order. Looks for strings, colons and brackets only. It runs
/// before the parser and keeps deep nesting, which no manifest needs, away from it.
class ValueScanner {
 public:
  struct Value {
    std::string key;  ///< as it is written, with its escapes
    std::size_t byte = 0;
  };

  explicit ValueScanner(std::string_view text) : text_(text) { scan(); }

  /// The first value that is a list or an object, or a bracket that is out of place.
  const std::optional<Value>& nested() const { return nested_; }
  const std::vector<Value>& values() const { return values_; }

 private:
  void scan() {
    int depth = 0;
    std::string last_string;
    for (std::size_t at = 0; at < text_.size() && !nested_; ++at) {
      const char c = text_[at];
      if (c == '"') {
        const std::size_t end = string_end(text_, at);
        last_string = text_.substr(at + 1, end - std::min(end, at + 1));
        at = end;
      } else if (c == '{' || c == '[') {
        if (++depth > 1) nested_ = values_.empty() ? Value{} : values_.back();
      } else if (c == '}' || c == ']') {
        --depth;
      } else if (c == ':') {
        const std::size_t value = text_.find_first_not_of(white_space, at + 1);
        values_.push_back({.key = last_string, .byte = std::min(value, text_.size())});
      }
    }
  }

  std::string_view text_;
  std::optional<Value> nested_;
  std::vector<Value> values_;
};

/// One object of the manifest.
class JsonRow {
 public:
  JsonRow(std::string_view text, Position begin) : text_(text), begin_(begin) {}

  RawRow read() {
    RawRow row{.position = begin_, .cells = {}, .problem = {}, .fields = {}};
    if (text_.size() > max_value_bytes) {
      row.problem = problem_at(
          0, fmt::format("the row is {} bytes long; at most {} are read", text_.size(), max_value_bytes));
      return row;
    }
    const ValueScanner scanner(text_);
    if (const auto& nested = scanner.nested()) {
      row.problem =
          problem_at(nested->byte, fmt::format("{} is a list or an object; write texts and numbers only",
                                               nested->key.empty() ? "a value" : printable(nested->key, 80)));
      return row;
    }
    try {
      fill(row, scanner, json::parse(without_nan(scanner)));
    } catch (const json::exception& error) {
      row.problem = describe(error);
    }
    return row;
  }

 private:
  /// Python and pandas write NaN for a missing number, and Infinity. Neither is JSON. "" and a text of the
  /// same length replace them.
  std::string without_nan(const ValueScanner& scanner) const {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 3> words{
        {{"NaN", "\"\" "}, {"Infinity", "\"inf\"   "}, {"-Infinity", "\"-inf\"   "}}};
    std::string text(text_);
    for (const ValueScanner::Value& value : scanner.values()) {
      const std::size_t end = std::min(text.find_first_of(",} \t\r\n", value.byte), text.size());
      const std::string_view word = std::string_view(text).substr(value.byte, end - value.byte);
      const auto found = std::ranges::find(words, word, [](const auto& pair) { return pair.first; });
      if (found != words.end()) text.replace(value.byte, found->first.size(), found->second);
    }
    return text;
  }

  void fill(RawRow& row, const ValueScanner& scanner, const json& object) {
    if (!object.is_object()) {
      row.problem = problem_at(0, "not a JSON object; write one {...} per line");
      return;
    }
    if (scanner.values().size() != object.size()) row.problem = repeated_key(scanner);
    for (const auto& [key, value] : object.items()) {
      const auto found = std::ranges::find(scanner.values(), key, &ValueScanner::Value::key);
      const std::size_t byte = found == scanner.values().end() ? 0 : found->byte;
      add_cell(row, known_column(key, place(byte)), value, byte);
    }
  }

  Problem repeated_key(const ValueScanner& scanner) const {
    std::set<std::string_view> seen;
    for (const ValueScanner::Value& value : scanner.values()) {
      if (!seen.insert(value.key).second)
        return problem_at(value.byte, fmt::format("the key '{}' is given twice", printable(value.key, 80)));
    }
    return problem_at(0, "a key is given twice");  // in two spellings, one of them with escapes
  }

  void add_cell(RawRow& row, std::string_view column, const json& value, std::size_t byte) {
    if (value.is_null()) return;
    if (!value.is_string() && !value.is_number()) {
      if (!row.problem) {
        row.problem =
            problem_at(byte, fmt::format("{} is {}; write a text or a number", column, value.dump()));
      }
      return;
    }
    std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    if (text.empty()) return;
    if (!row.cells.emplace(column, Cell{.text = std::move(text), .position = place(byte)}).second &&
        !row.problem)
      row.problem = problem_at(byte, fmt::format("{} is given twice, under two names", column));
  }

  Problem describe(const json::exception& error) const {
    const auto* parse_error = dynamic_cast<const json::parse_error*>(&error);
    const std::size_t byte = parse_error != nullptr && parse_error->byte > 0 ? parse_error->byte - 1 : 0;
    // The library's message begins with its own name and a position in bytes. The part behind the last ": "
    // of that prefix is for people.
    std::string_view message = error.what();
    if (const auto at = message.find("syntax error"); at != std::string_view::npos) {
      message = message.substr(at);
    } else if (const auto end = message.find("] "); end != std::string_view::npos) {
      message = message.substr(end + 2);
    }
    return problem_at(byte, fmt::format("not valid JSON: {}", message));
  }

  Position place(std::size_t byte) const { return place_of(text_, byte, begin_); }
  Problem problem_at(std::size_t byte, std::string message) const {
    return {.position = place(byte), .message = std::move(message)};
  }

  std::string_view text_;
  Position begin_;
};

/// A column that no row has was forgotten. A column that some rows lack is an error of those rows.
void check_required(const std::vector<RawRow>& rows, const std::vector<std::string_view>& required) {
  for (const std::string_view column : required) {
    const bool somewhere = std::ranges::any_of(
        rows, [&](const RawRow& row) { return row.problem || row.cells.contains(column); });
    if (!rows.empty() && !somewhere) {
      throw ManifestError(rows.front().position, fmt::format("no row has the key '{}'", column));
    }
  }
}

/// Whether an object has values, and all of them are lists or objects. `object` is valid JSON.
bool holds_only_structures(std::string_view object) {
  int depth = 0;
  bool has_values = false;
  for (std::size_t at = 0; at < object.size(); ++at) {
    const char c = object[at];
    if (c == '"') {
      at = string_end(object, at);
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      --depth;
    } else if (c == ':' && depth == 1) {
      const char value = object[object.find_first_not_of(white_space, at + 1)];
      if (value != '{' && value != '[') return false;
      has_values = true;
    }
  }
  return has_values;
}

/// Refuses once a file of one object over several lines, or of one object that holds all rows, as pandas
/// writes it by default. Such a file would fail line by line. Its values are not kept: they would take forty
/// times the memory of the text.
void refuse_other_shapes(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(white_space), text.size());
  const auto end = bracket_end(text, begin);
  if (!end) return;
  const std::string_view object = text.substr(begin, *end - begin);
  const bool is_all = text.find_first_not_of(white_space, *end) == std::string_view::npos;
  const bool spans_lines = object.find('\n') != std::string_view::npos;
  if ((!is_all && !spans_lines) || !json::accept(object)) return;
  if (object.find('"') == std::string_view::npos) return;  // no key: the object is empty
  const bool holds_rows = is_all && holds_only_structures(object);
  if (spans_lines || holds_rows) {
    throw ManifestError(
        place_of(text, begin, {}),
        fmt::format(
            "the file is JSON, but {}; write one object {{...}} with image and prompt per line, or a list "
            "of such objects in [...] (pandas: to_json(orient='records'))",
            holds_rows ? "one object instead of a list of rows" : "an object goes over several lines"));
  }
}

/// If somebody removes the brackets of a list, each line keeps the comma behind its object.
std::string_view without_last_comma(std::string_view line) {
  const std::string_view value = trim(line);
  if (!value.starts_with('{') || !value.ends_with(',')) return line;
  const std::string_view object = line.substr(0, line.rfind(','));
  return trim(object).ends_with('}') ? object : line;
}

RawManifest read_lines(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(white_space), text.size() - 1);
  if (text[begin] != '{') {
    throw ManifestError(place_of(text, begin, {}),
                        "the file's name says JSON, but no object {...} begins here");
  }
  refuse_other_shapes(text);
  RawManifest manifest;
  for (std::int64_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    line = without_last_comma(line);
    if (trim(line).empty()) continue;
    add_row(JsonRow(line, {.line = number, .column = 1}).read(), manifest);
  }
  return manifest;
}

/// Goes through a list of objects.
class ArrayReader {
 public:
  explicit ArrayReader(std::string_view text) : text_(text) { skip_to(text_.find('[') + 1); }

  RawManifest read() {
    RawManifest manifest;
    for (bool is_first = true; skip_space() != ']'; is_first = false) {
      if (!is_first) {
        if (peek() != ',') refuse("a comma or the closing ] is missing");
        skip_to(at_ + 1);
        if (skip_space() == ']') break;
      }
      add_row(read_element(), manifest);
    }
    skip_to(at_ + 1);
    if (skip_space() != '\0') refuse("text after the closing ]");
    return manifest;
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  char skip_space() {
    skip_to(std::min(text_.find_first_not_of(white_space, at_), text_.size()));
    return peek();
  }
  void skip_to(std::size_t at) {
    place_ = place_of(text_.substr(at_, at - at_), at - at_, place_);
    at_ = at;
  }
  RawRow read_element() {
    if (peek() == '\0') refuse("the file ends before the closing ]; is it complete?");
    if (peek() != '{') refuse(R"(a row that is no object; write {"image": ..., "prompt": ...})");
    const auto end = bracket_end(text_, at_);
    if (!end) refuse("the object that begins here is not closed");
    RawRow row = JsonRow(text_.substr(at_, *end - at_), place_).read();
    skip_to(*end);
    return row;
  }
  [[noreturn]] void refuse(const char* reason) const {
    throw ManifestError(place_, fmt::format("not a list of objects: {}", reason));
  }

  std::string_view text_;
  std::size_t at_ = 0;
  Position place_;
};

}  // namespace

RawManifest read_json_rows(std::string_view text, const std::vector<std::string_view>& required) {
  const std::size_t begin = text.find_first_not_of(white_space);
  const bool is_array = begin != std::string_view::npos && text[begin] == '[';
  RawManifest manifest = is_array ? ArrayReader(text).read() : read_lines(text);
  check_required(manifest.rows, required);
  return manifest;
}

}  // namespace wan::manifest
