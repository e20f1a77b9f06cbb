#include "batch/manifest.h"

#include <algorithm>
#include <functional>
#include <unordered_map>

#include "batch/item_id.h"
#include "batch/manifest_format.h"
#include "batch/text.h"
#include "core/check.h"
#include "core/file.h"

namespace wan::batch {
namespace {

constexpr std::string_view utf8_mark = "\xEF\xBB\xBF";

/// A value of a row that cannot be used.
class CellError : public ValueError {
 public:
  CellError(Position position, const std::string& message) : ValueError(message), position_(position) {}
  Position position() const { return position_; }

 private:
  Position position_;
};

/// Turns one raw row into a ManifestRow.
class RowParser {
 public:
  RowParser(const RawRow& raw, const std::filesystem::path& manifest, TaskKind task)
      : raw_(raw), manifest_(manifest), task_(task) {}

  ManifestRow parse(std::int64_t index) {
    row_.index = index;
    row_.line = raw_.position.line;
    row_.id = automatic();
    try {
      if (raw_.problem) throw CellError(raw_.problem->position, raw_.problem->message);
      for (const auto& [column, cell] : raw_.cells) check_text(column, cell);
      parse_id();
      parse_prompt();
      parse_image();
      parse_overrides();
    } catch (const CellError& error) {
      row_.error = fmt::format("{}:{}:{}: {}", printable(manifest_.string()), error.position().line,
                               error.position().column, printable(error.what()));
    }
    return std::move(row_);
  }

  bool has_given_id() const { return has_given_id_; }

 private:
  const Cell* find(std::string_view column) const {
    const auto found = raw_.cells.find(column);
    return found == raw_.cells.end() ? nullptr : &found->second;
  }

  /// From the values as they are written, so that an empty column more or a row before changes nothing.
  std::string automatic() const {
    std::string values;
    for (const auto& [column, cell] : raw_.cells) {
      if (column != "id") values += fmt::format("{}={}:{}\n", column, cell.text.size(), cell.text);
    }
    if (raw_.problem) values += raw_.problem->message;
    const Cell* image = find("image");
    const Cell* prompt = find("prompt");
    if (task_ == TaskKind::t2v) return automatic_id(prompt != nullptr ? prompt->text : "", values);
    return automatic_id(image != nullptr ? std::filesystem::path(image->text).stem().string() : "", values);
  }

  static void check_text(std::string_view column, const Cell& cell) {
    if (cell.text.size() > max_value_bytes) {
      throw CellError(cell.position, fmt::format("{} is {} bytes long; at most {} are allowed", column,
                                                 cell.text.size(), max_value_bytes));
    }
    if (const auto bad = first_invalid_utf8(cell.text)) {
      throw CellError(
          cell.position,
          fmt::format("{} is not UTF-8: byte {:#04x} at byte {} of the value; save the file as UTF-8", column,
                      static_cast<unsigned char>(cell.text[*bad]), *bad + 1));
    }
    if (cell.text.find('\0') != std::string::npos) {
      throw CellError(cell.position, fmt::format("{} contains a NUL byte", column));
    }
  }

  void parse_id() {
    parse_into("id", [this](std::string_view text) {
      check_id(text);
      row_.id = text;
      has_given_id_ = true;
    });
  }

  void parse_prompt() {
    const Cell* prompt = find("prompt");
    if (prompt == nullptr || prompt->text.find_first_not_of(" \t\r\n") == std::string::npos) {
      throw CellError(prompt != nullptr ? prompt->position : raw_.position, "the prompt is missing");
    }
    row_.prompt = prompt->text;
    row_.prompt_place = prompt->position;
  }

  void parse_image() {
    const Cell* image = find("image");
    if (task_ == TaskKind::t2v) {
      if (image == nullptr) return;
      throw CellError(image->position,
                      "an image is given, but this checkpoint makes videos from text alone (t2v)");
    }
    if (image == nullptr) throw CellError(raw_.position, "the image is missing");
    row_.image = manifest_.parent_path() / image->text;
    row_.image_place = image->position;
  }

  void parse_overrides() {
    RequestOverrides& to = row_.overrides;
    if (const Cell* cell = find("negative_prompt")) to.negative_prompt = cell->text;
    parse_into("seed", [&](auto text) { to.seed = parse_seed(text); });
    parse_into("size", [&](auto text) { to.size = parse_size(text); });
    parse_into("frame_num", [&](auto text) { to.frame_num = parse_frame_num(text); });
    parse_into("sample_steps", [&](auto text) { to.sample_steps = parse_sample_steps(text); });
    parse_into("sample_shift", [&](auto text) { to.sample_shift = parse_sample_shift(text); });
    parse_into("sample_guide_scale", [&](auto text) { to.guide_scale = parse_guide_scale(text); });
    parse_into("sample_solver", [&](auto text) { to.solver = parse_solver_name(text); });
    parse_into("boundary", [&](auto text) { to.boundary = parse_boundary(text); });
  }

  void parse_into(std::string_view column, const std::function<void(std::string_view)>& parse) {
    const Cell* cell = find(column);
    if (cell == nullptr || trim(cell->text).empty()) return;
    try {
      parse(trim(cell->text));
    } catch (const ValueError& error) {
      throw CellError(cell->position, fmt::format("{}: {}", column, error.what()));
    }
  }

  const RawRow& raw_;
  const std::filesystem::path& manifest_;
  TaskKind task_;
  ManifestRow row_;
  bool has_given_id_ = false;
};

bool is_json_lines(std::string_view text, const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".jsonl" || extension == ".ndjson" || extension == ".json-lines" ||
         text.starts_with('{');
}

void check_encoding(std::string_view text, const std::filesystem::path& path) {
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
    fail<UsageError>("{}:1:1: the manifest is UTF-16; save it as UTF-8", printable(path.string()));
  }
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    fail<UsageError>("{}:1:1: the manifest is empty; its first line names the columns: image,prompt",
                     printable(path.string()));
  }
}

/// Keeps ids unique. A clash is the manifest's error, except that bad rows without an id of their own, which
/// make no video, are simply counted.
class IdRegister {
 public:
  explicit IdRegister(const std::filesystem::path& manifest) : manifest_(manifest) {}

  void add(ManifestRow& row, bool has_given_id, std::int64_t column) {
    const auto [found, is_new] = lines_.try_emplace(row.id, row.line);
    if (is_new) return;
    if (row.error && !has_given_id) {
      const std::string base = row.id;
      for (int n = 2; !lines_.try_emplace(row.id, row.line).second; ++n)
        row.id = fmt::format("{}-{}", base, n);
      return;
    }
    const char* reason = has_given_id ? "the id" : "no id, and the same values and so the same automatic id";
    fail<UsageError>("{}:{}:{}: this row has {} as line {}: '{}'; give each row an id of its own",
                     printable(manifest_.string()), row.line, column, reason, found->second, row.id);
  }

 private:
  const std::filesystem::path& manifest_;
  std::unordered_map<std::string, std::int64_t> lines_;
};

}  // namespace

std::string read_manifest(const std::filesystem::path& path) {
  try {
    std::string text = read_text_file(path, max_manifest_bytes);
    check_encoding(text, path);
    return text;
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    fail<UsageError>("cannot use the manifest: {}", printable(error.what(), 2000));
  }
}

std::vector<ManifestRow> parse_manifest(std::string_view text, const std::filesystem::path& path,
                                        TaskKind task) {
  check_encoding(text, path);
  if (text.starts_with(utf8_mark)) text.remove_prefix(utf8_mark.size());
  std::vector<std::string_view> required{"prompt"};
  if (task == TaskKind::i2v) required.insert(required.begin(), "image");
  std::vector<RawRow> raw_rows;
  try {
    raw_rows = is_json_lines(text, path) ? read_json_rows(text, required) : read_csv_rows(text, required);
  } catch (const ManifestError& error) {
    fail<UsageError>("{}:{}:{}: {}", printable(path.string()), error.position().line, error.position().column,
                     error.what());
  }
  if (raw_rows.empty())
    fail<UsageError>("{}: the manifest has a header but no rows", printable(path.string()));
  std::vector<ManifestRow> rows;
  rows.reserve(raw_rows.size());
  IdRegister ids(path);
  for (const RawRow& raw : raw_rows) {
    RowParser parser(raw, path, task);
    rows.push_back(parser.parse(std::ssize(rows)));
    const auto given = raw.cells.find("id");
    ids.add(rows.back(), parser.has_given_id(),
            given != raw.cells.end() ? given->second.position.column : raw.position.column);
  }
  return rows;
}

void keep_shard(std::vector<ManifestRow>& rows, const Shard& shard) {
  std::erase_if(rows, [&](const ManifestRow& row) { return row.index % shard.count != shard.index; });
}

std::vector<ManifestRow> load_manifest(const std::filesystem::path& path, TaskKind task) {
  return parse_manifest(read_manifest(path), path, task);
}

}  // namespace wan::batch
