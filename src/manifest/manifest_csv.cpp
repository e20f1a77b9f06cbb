#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>

#include "core/check.h"
#include "core/strings.h"
#include "manifest/manifest.h"
#include "manifest/manifest_format.h"

namespace wan::manifest {
namespace {

constexpr std::size_t most_columns = 20'000;  // a spreadsheet has at most 16,384

/// The delimiter between values, and the place of the header line.
struct CsvLayout {
  char delimiter = ',';
  std::string_view text;  ///< from the header line on
  std::int64_t first_line = 1;
};

struct Header {
  std::vector<std::string_view>
      columns;  ///< in the file's order up to the last named one; "": without a name
  std::size_t named = 0;
  std::size_t first_named = 0;
  std::size_t without_name = 0;  ///< columns without a name, also behind the last named one
  std::vector<CsvField> fields;  ///< as written, up to the last named one
};

/// pandas writes its index without a name, and gives it such a name when it reads the file back.
bool has_no_name(std::string_view name) { return trim(name).empty() || name.starts_with("Unnamed:"); }

/// The delimiter in a line "sep=;", which spreadsheets write; nothing if there is none.
std::optional<char> declared_delimiter(std::string_view line) {
  if (line.size() > 2 && line.front() == '"' && line.back() == '"') line = line.substr(1, line.size() - 2);
  constexpr std::string_view key = "sep=";
  if (line.size() != key.size() + 1) return std::nullopt;
  const std::string_view name = line.substr(0, key.size());
  if (name != key && name != "SEP=" && name != "Sep=") return std::nullopt;
  return line.back();
}

/// The number of known column names in the header line, if this delimiter divides it.
std::size_t known_names(std::string_view text, char delimiter) {
  const std::string_view line = text.substr(0, text.find_first_of("\r\n"));
  try {
    const auto record = CsvReader(line, most_columns, delimiter).next();
    if (!record) return 0;
    return static_cast<std::size_t>(std::ranges::count_if(
        record->fields, [](const CsvField& field) { return find_column(field.text).has_value(); }));
  } catch (const CsvError&) {
    return 0;
  }
}

CsvLayout find_layout(std::string_view text) {
  CsvLayout layout{.text = text};
  const std::size_t end = std::min(text.find_first_of("\r\n"), text.size());
  if (const auto declared = declared_delimiter(text.substr(0, end))) {
    layout.delimiter = *declared;
    const bool is_pair = end + 1 < text.size() && text[end] == '\r' && text[end + 1] == '\n';
    layout.text = text.substr(std::min(end + (is_pair ? 2 : 1), text.size()));
    layout.first_line = 2;
    return layout;
  }
  const std::string_view from_header = text.substr(std::min(text.find_first_not_of("\r\n"), text.size()));
  std::size_t most = known_names(from_header, layout.delimiter);
  for (const char delimiter : {';', '\t', '|'}) {
    const std::size_t names = known_names(from_header, delimiter);
    if (names <= most) continue;
    most = names;
    layout.delimiter = delimiter;
  }
  return layout;
}

/// Marks a column as present. It must not be marked before.
void add_column(Header& header, const CsvField& field) {
  if (has_no_name(field.text)) {
    ++header.without_name;
    header.columns.emplace_back();
    return;
  }
  const std::string_view column = known_column(trim(field.text), field.position);
  if (std::ranges::find(header.columns, column) != header.columns.end()) {
    throw ManifestError(field.position,
                        trim(field.text) == column
                            ? fmt::format("column '{}' is there twice", column)
                            : fmt::format("column '{}' means '{}', which is there already; keep one of them",
                                          printable(trim(field.text), 80), column));
  }
  if (header.named++ == 0) header.first_named = header.columns.size();
  header.columns.push_back(column);
}

/// The first line names no known column: it has another delimiter, or it is a row.
void require_names(const CsvRecord& record) {
  const bool is_known = std::ranges::any_of(record.fields, [](const CsvField& field) {
    return has_no_name(field.text) || find_column(field.text) || is_misspelt_column(field.text);
  });
  if (is_known || record.fields.empty()) return;
  const CsvField& first = record.fields.front();
  throw ManifestError(
      first.position,
      fmt::format(
          "the first line names no column: '{}' is not one; it begins with, for example, image,prompt, "
          "divided by commas, semicolons, tabs or bars",
          printable(first.text, 80)));
}

Header read_header(CsvReader& reader, const std::vector<std::string_view>& required) {
  const auto record = reader.next();
  if (!record)
    throw ManifestError({}, "the manifest is empty; its first line names the columns: image,prompt");
  if (record->problem) throw ManifestError(record->problem->position, record->problem->message);
  require_names(*record);
  Header header;
  for (const CsvField& field : record->fields) add_column(header, field);
  while (!header.columns.empty() && header.columns.back().empty()) header.columns.pop_back();
  header.fields.assign(record->fields.begin(), record->fields.begin() + std::ssize(header.columns));
  for (const std::string_view column : required) {
    if (std::ranges::find(header.columns, column) != header.columns.end()) continue;
    std::vector<std::string_view> names = header.columns;
    std::erase(names, std::string_view());
    throw ManifestError(record->position,
                        names.empty()
                            ? "the first line names no column; it begins with, for example: image,prompt"
                            : fmt::format("column '{}' is missing; the first line names {}", column,
                                          printable(fmt::format("{}", fmt::join(names, ",")))));
  }
  return header;
}

/// Whether a column without a name may hold this value: nothing, or a running number in front of all others.
bool may_be_ignored(std::string_view text, std::size_t index, const Header& header) {
  if (trim(text).empty()) return true;
  if (index > header.first_named) return false;
  try {
    parse_integer(trim(text), 0, std::numeric_limits<std::int64_t>::max());
    return true;
  } catch (const ValueError&) {
    return false;
  }
}

const char* delimiter_name(char delimiter) {
  if (delimiter == ',') return "comma";
  return delimiter == ';' ? "semicolon" : "delimiter";
}

std::string too_many(const CsvRecord& record, const Header& header, char delimiter) {
  return fmt::format("{} values where the first line names {} columns; put a value with {}s in quotes",
                     record.field_count, header.named, delimiter_name(delimiter));
}

RawRow to_raw_row(CsvRecord&& record, const Header& header, char delimiter) {
  RawRow row{.position = record.position, .cells = {}, .problem = std::move(record.problem), .fields = {}};
  bool is_blank = true;
  std::optional<Problem> unnamed;
  for (std::size_t i = 0; i < record.fields.size(); ++i) {
    CsvField& field = record.fields[i];
    if (header.columns[i].empty()) {
      if (unnamed || may_be_ignored(field.text, i, header)) continue;
      unnamed = Problem{
          .position = field.position,
          .message = fmt::format("column {} has no name in the first line and holds '{}'; name it, or "
                                 "put a value with delimiters in quotes",
                                 i + 1, printable(field.text, 80))};
    } else if (!field.text.empty()) {
      is_blank = is_blank && trim(field.text).empty();
      row.cells.emplace(header.columns[i], Cell{.text = std::move(field.text),
                                                .position = field.position,
                                                .may_be_trimmed = !field.is_quoted});
    }
  }
  if (row.problem) return row;
  if (record.surplus) {
    row.problem = Problem{.position = record.position, .message = too_many(record, header, delimiter)};
  } else if (unnamed) {
    row.problem = std::move(unnamed);
  } else if (record.field_count < header.columns.size() && !is_blank) {
    row.problem = Problem{.position = record.position,
                          .message = fmt::format("{} value{} where the first line names {} columns; a "
                                                 "value that is not given still needs its {}",
                                                 record.field_count, record.field_count == 1 ? "" : "s",
                                                 header.named, delimiter_name(delimiter))};
  }
  return row;
}

}  // namespace

RawManifest read_csv_rows(std::string_view text, const std::vector<std::string_view>& required,
                          KeepFields keep) try {
  const CsvLayout layout = find_layout(text);
  CsvReader reader(layout.text, most_columns, layout.delimiter, layout.first_line);
  const Header header = read_header(reader, required);
  reader.set_max_fields(header.columns.size());
  RawManifest manifest;
  manifest.delimiter = layout.delimiter;
  manifest.header = header.fields;
  if (header.without_name > 0) {
    manifest.notes.push_back(fmt::format("{} column{} without a name {} ignored", header.without_name,
                                         header.without_name == 1 ? "" : "s",
                                         header.without_name == 1 ? "is" : "are"));
  }
  while (auto record = reader.next()) {
    std::vector<CsvField> fields;
    if (keep == KeepFields::yes) fields = record->fields;
    RawRow row = to_raw_row(std::move(*record), header, layout.delimiter);
    row.fields = std::move(fields);
    add_row(std::move(row), manifest);
  }
  return manifest;
} catch (const CsvError& error) {
  throw ManifestError(error.position(), error.what());
}

}  // namespace wan::manifest
