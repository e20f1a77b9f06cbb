#include "manifest/row_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/strings.h"
#include "manifest/manifest_format.h"

namespace wan::manifest {
namespace {

using json = nlohmann::ordered_json;

bool has_value(const RawRow& row, std::string_view column) {
  const auto found = row.cells.find(column);
  return found != row.cells.end() && found->second.text.find_first_not_of(" \t\r\n") != std::string::npos;
}

/// A text as JSON can hold it: {"text": ...}, or {"hex": ...} for bytes that are not UTF-8.
json text_of(std::string_view text) {
  if (!first_invalid_utf8(text)) return {{"text", text}};
  std::string digits;
  for (const char byte : text) digits += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return {{"hex", digits}};
}

json cell_of(std::string_view column, std::string_view text, const Position& position, bool is_quoted) {
  json cell = text_of(text);
  cell["column"] = column.empty() ? json() : json(column);
  cell["line"] = position.line;
  cell["at"] = position.column;
  cell["quoted"] = is_quoted;
  return cell;
}

/// The column of each place in a CSV header; "" for a place without a name.
std::vector<std::string_view> columns_of(const RawManifest& manifest) {
  std::vector<std::string_view> columns;
  columns.reserve(manifest.header.size());
  for (const CsvField& field : manifest.header) columns.push_back(find_column(field.text).value_or(""));
  return columns;
}

json cells_of(const RawRow& row, const RawManifest& manifest, const std::vector<std::string_view>& columns) {
  json cells = json::array();
  if (!manifest.delimiter) {
    for (const auto& [column, cell] : row.cells)
      cells.push_back(cell_of(column, cell.text, cell.position, true));
    return cells;
  }
  for (std::size_t i = 0; i < std::min(row.fields.size(), columns.size()); ++i) {
    const CsvField& field = row.fields[i];
    cells.push_back(cell_of(columns[i], field.text, field.position, field.is_quoted));
  }
  return cells;
}

json values_of(const ManifestRow& row) {
  const RequestOverrides& given = row.overrides;
  json values = json::object();
  if (given.negative_prompt) values["negative_prompt"] = *given.negative_prompt;
  if (given.seed) values["seed"] = *given.seed;
  if (given.size) values["size"] = fmt::format("{}*{}", given.size->width, given.size->height);
  if (given.frame_num) values["frame_num"] = *given.frame_num;
  if (given.sample_steps) values["sample_steps"] = *given.sample_steps;
  if (given.sample_shift) values["sample_shift"] = *given.sample_shift;
  if (given.guide_scale)
    values["sample_guide_scale"] = {given.guide_scale->low_noise, given.guide_scale->high_noise};
  if (given.solver) values["sample_solver"] = to_string(*given.solver);
  if (given.boundary) values["boundary"] = *given.boundary;
  if (given.loras) {
    for (const LoraChoice& lora : *given.loras) values["lora"].push_back(to_text(lora));
  }
  if (!row.extension.empty()) values["prompt_extension"] = row.extension;
  return values;
}

/// Parses the rows. Without a task, a row with an image is one for i2v, and any other row is one for t2v.
std::vector<ManifestRow> parse_by_task(const std::vector<RawRow>& raw_rows, const std::filesystem::path& path,
                                       std::optional<TaskKind> task) {
  if (task) return parse_rows(raw_rows, path, *task);
  std::vector<ManifestRow> rows = parse_rows(raw_rows, path, TaskKind::t2v);
  std::vector<ManifestRow> with_images = parse_rows(raw_rows, path, TaskKind::i2v);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (has_value(raw_rows[i], "image")) rows[i] = std::move(with_images[i]);
  }
  return rows;
}

/// The rows, with the error that a row without a prompt would have if it had one.
std::vector<ManifestRow> with_prompts(std::vector<RawRow> raw_rows, const std::filesystem::path& path,
                                      std::optional<TaskKind> task) {
  for (RawRow& row : raw_rows) {
    if (!has_value(row, "prompt")) row.cells["prompt"] = {.text = "x", .position = row.position};
  }
  return parse_by_task(raw_rows, path, task);
}

std::string line_of(const json& fields) {
  return fields.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

json manifest_line(const RawManifest& manifest, const std::filesystem::path& path) {
  json header = json::array();
  for (const CsvField& field : manifest.header) {
    header.push_back(
        cell_of(find_column(field.text).value_or(""), field.text, field.position, field.is_quoted));
  }
  return {{"manifest", path.string()},
          {"format", manifest.delimiter ? "csv" : "json"},
          {"delimiter", manifest.delimiter ? json(std::string(1, *manifest.delimiter)) : json()},
          {"rows", manifest.rows.size()},
          {"known_columns", manifest_columns},
          {"header", std::move(header)}};
}

}  // namespace

void list_rows(std::string_view text, const std::filesystem::path& path, std::optional<TaskKind> task,
               const Shard& shard, const std::function<void(std::string_view)>& print) {
  const RawManifest manifest = read_raw_manifest(text, path, {}, KeepFields::yes);
  std::vector<ManifestRow> rows = parse_by_task(manifest.rows, path, task);
  const std::vector<ManifestRow> prompted = with_prompts(manifest.rows, path, task);
  keep_shard(rows, shard);
  const std::vector<std::string_view> columns = columns_of(manifest);
  print(line_of(manifest_line(manifest, path)));
  for (const ManifestRow& row : rows) {
    const auto place = static_cast<std::size_t>(row.index);
    const RawRow& raw = manifest.rows[place];
    json fields{{"index", row.index}, {"line", row.line}, {"id", row.id}};
    fields["image"] = row.image.empty() ? json() : json(row.image.string());
    fields["prompt"] = row.prompt;
    fields["values"] = values_of(row);
    fields["cells"] = cells_of(raw, manifest, columns);
    fields["error"] = row.error ? json(*row.error) : json();
    fields["form_is_broken"] = raw.problem.has_value();
    // A vision model can write a prompt for a row that has only an image.
    fields["lacks_only_prompt"] = row.error && !has_value(raw, "prompt") && !prompted[place].error;
    if (fields["lacks_only_prompt"] == true) fields["image"] = prompted[place].image.string();
    print(line_of(fields));
  }
}

}  // namespace wan::manifest
