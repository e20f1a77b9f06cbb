#include <algorithm>

#include "batch/manifest.h"
#include "batch/manifest_format.h"
#include "batch/text.h"
#include "core/check.h"

namespace wan::batch {
namespace {

using Header = std::vector<std::string_view>;  ///< column names, in the file's order

Header read_header(CsvReader& reader, const std::vector<std::string_view>& required) {
  const auto record = reader.next();
  if (!record)
    throw ManifestError({}, "the manifest is empty; its first line names the columns: image,prompt");
  if (record->stray_quote)
    throw ManifestError(*record->stray_quote, "a quote in the middle of a column name");
  Header header;
  for (const CsvField& field : record->fields) {
    const std::string_view column = known_column(trim(field.text), field.position);
    if (std::ranges::find(header, column) != header.end()) {
      throw ManifestError(field.position, fmt::format("column '{}' is there twice", column));
    }
    header.push_back(column);
  }
  for (const std::string_view column : required) {
    if (std::ranges::find(header, column) == header.end()) {
      throw ManifestError(record->position,
                          fmt::format("column '{}' is missing; the first line names {}", column,
                                      printable(fmt::format("{}", fmt::join(header, ",")))));
    }
  }
  return header;
}

RawRow to_raw_row(CsvRecord&& record, const Header& header) {
  RawRow row{.position = record.position, .cells = {}, .problem = {}};
  for (std::size_t i = 0; i < record.fields.size(); ++i) {
    CsvField& field = record.fields[i];
    if (field.text.empty()) continue;
    row.cells.emplace(header[i], Cell{.text = std::move(field.text), .position = field.position});
  }
  if (record.stray_quote) {
    row.problem = Problem{.position = *record.stray_quote,
                          .message =
                              "a quote in the middle of a field; put the whole field in quotes, with no "
                              "space before the first, and write inner quotes twice (\"\")"};
  } else if (record.field_count != header.size()) {
    row.problem =
        Problem{.position = record.position,
                .message = fmt::format(
                    "{} values where the first line names {} columns{}", record.field_count, header.size(),
                    record.field_count > header.size() ? "; put a value with commas in quotes" : "")};
  }
  return row;
}

}  // namespace

std::string_view known_column(std::string_view name, Position position) {
  const auto found = std::ranges::find(manifest_columns, name);
  if (found != manifest_columns.end()) return *found;
  const auto nearest = nearest_name(name, manifest_columns);
  throw ManifestError(
      position, nearest
                    ? fmt::format("unknown column '{}'; did you mean '{}'?", printable(name, 80), *nearest)
                    : fmt::format("unknown column '{}'; there are {}", printable(name, 80),
                                  fmt::join(manifest_columns, ", ")));
}

std::vector<RawRow> read_csv_rows(std::string_view text, const std::vector<std::string_view>& required) try {
  CsvReader reader(text, manifest_columns.size() + 1);  // one more shows that a header has too many
  const Header header = read_header(reader, required);
  reader.set_max_fields(header.size());
  std::vector<RawRow> rows;
  while (auto record = reader.next()) {
    if (std::ssize(rows) == max_manifest_rows) {
      throw ManifestError(record->position,
                          fmt::format("more than {} rows; split the manifest", max_manifest_rows));
    }
    rows.push_back(to_raw_row(std::move(*record), header));
  }
  return rows;
} catch (const CsvError& error) {
  throw ManifestError(error.position(), error.what());
}

}  // namespace wan::batch
