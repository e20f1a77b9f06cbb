#include "manifest/manifest.h"

#include <algorithm>
#include <array>
#include <functional>
#include <unordered_map>

#include "core/check.h"
#include "core/file.h"
#include "core/strings.h"
#include "manifest/item_id.h"
#include "manifest/manifest_format.h"

namespace wan::manifest {
namespace {

constexpr std::string_view utf8_mark = "\xEF\xBB\xBF";

/// Whether a name stands for the output of another program or of the shell, not for a file.
bool is_stream(const std::filesystem::path& path) {
  const std::string& name = path.native();
  return name == "-" || name == "/dev/stdin" || name.starts_with("/dev/fd/") ||
         name.starts_with("/proc/self/fd/");
}

/// The folder of relative images: beside the manifest, or the working directory if the manifest is no file.
std::filesystem::path folder_of_manifest(const std::filesystem::path& manifest) {
  return is_stream(manifest) ? std::filesystem::path() : manifest.parent_path();
}

/// The words that pandas takes for a missing value.
bool means_nothing(std::string_view text) {
  constexpr std::array<std::string_view, 13> words{"",     "NaN", "nan", "-NaN", "-nan", "null", "NULL",
                                                   "None", "N/A", "n/a", "NA",   "<NA>", "#N/A"};
  return std::ranges::find(words, text) != words.end();
}

/// In a table with decimal commas, one value 3,5 looks like two values.
void require_no_decimal_comma(std::string_view text) {
  const std::size_t comma = text.find(',');
  if (comma == std::string_view::npos || comma == 0 || comma + 1 == text.size()) return;
  if (text.find_first_not_of("0123456789,") != std::string_view::npos) return;
  const std::string_view whole = text.substr(0, comma);
  const std::string_view rest = text.substr(comma + 1);
  fail<ValueError>(
      "'{}' may mean the one value {}.{}, or LOW {} and HIGH {} (HIGH is for the expert that works first); "
      "write {}.{} or {}:{}",
      text, whole, rest, whole, rest, whole, rest, whole, rest);
}

/// A value of a row is not usable.
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
      copy_extension();
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

  /// Made from the values as they are written. So an added empty column or an added row changes nothing.
  std::string automatic() const {
    std::string values;
    for (const auto& [column, cell] : raw_.cells) {
      if (column != "id" && !is_extension_column(column))
        values += fmt::format("{}={}:{}\n", column, cell.text.size(), cell.text);
    }
    if (raw_.problem) values += raw_.problem->message;
    const Cell* image = find("image");
    const Cell* prompt = find("prompt");
    if (!has_image()) return automatic_id(prompt != nullptr ? prompt->text : "", values);
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
    const Cell* cell = find("id");
    if (cell == nullptr || trim(cell->text).empty()) return;
    try {
      check_id(trim(cell->text));
    } catch (const ValueError& error) {
      throw CellError(cell->position, error.what());
    }
    row_.id = trim(cell->text);
    has_given_id_ = true;
  }

  void parse_prompt() {
    const Cell* prompt = find("prompt");
    if (prompt == nullptr || prompt->text.find_first_not_of(" \t\r\n") == std::string::npos) {
      throw CellError(prompt != nullptr ? prompt->position : raw_.position, "the prompt is missing");
    }
    row_.prompt = prompt->text;
    row_.prompt_place = prompt->position;
  }

  /// Whether the row is one for a video of an image.
  bool has_image() const {
    const Cell* image = find("image");
    return task_ == TaskKind::i2v ||
           (task_ == TaskKind::ti2v && image != nullptr && !trim(image->text).empty());
  }

  void parse_image() {
    const Cell* image = find("image");
    const bool is_missing = image == nullptr || trim(image->text).empty();
    if (task_ == TaskKind::ti2v && is_missing) return;
    if (task_ == TaskKind::t2v) {
      if (is_missing) return;
      throw CellError(image->position,
                      "an image is given, but this checkpoint makes videos from text alone (t2v)");
    }
    if (is_missing)
      throw CellError(image != nullptr ? image->position : raw_.position, "the image is missing");
    try {
      row_.image = image_path(*image);
    } catch (const ValueError& error) {
      throw CellError(image->position, fmt::format("image: {}", error.what()));
    }
    row_.image_place = image->position;
  }

  /// Blanks around a value without quotes belong to the file's name only if such a file exists.
  std::filesystem::path image_path(const Cell& image) const {
    const std::filesystem::path folder = folder_of_manifest(manifest_);
    const std::string_view trimmed = trim(image.text);
    if (image.may_be_trimmed && trimmed.size() != image.text.size()) {
      std::error_code error;
      if (!std::filesystem::exists(folder / image.text, error)) return folder / parse_path(trimmed);
    }
    return folder / parse_path(image.text);
  }

  void parse_overrides() {
    RequestOverrides& to = row_.overrides;
    if (const Cell* cell = find("negative_prompt"); cell != nullptr && !means_nothing(trim(cell->text))) {
      to.negative_prompt = cell->text;
      row_.negative_prompt_place = cell->position;
    }
    parse_into("seed", [&](auto text) { to.seed = parse_seed(text); });
    parse_into("size", [&](auto text) { to.size = parse_size(text); });
    parse_into("frame_num", [&](auto text) { to.frame_num = parse_frame_num(text); });
    parse_into("sample_steps", [&](auto text) { to.sample_steps = parse_sample_steps(text); });
    parse_into("sample_shift", [&](auto text) { to.sample_shift = parse_sample_shift(text); });
    parse_into("sample_guide_scale", [&](auto text) {
      require_no_decimal_comma(text);
      to.guide_scale = parse_guide_scale(text);
    });
    parse_into("sample_solver", [&](auto text) { to.solver = parse_solver_name(text); });
    parse_into("boundary", [&](auto text) { to.boundary = parse_boundary(text); });
    parse_into("lora", [&](auto text) { to.loras = parse_loras(text, folder_of_manifest(manifest_)); });
    if (to.loras) row_.lora_place = find("lora")->position;
  }

  void copy_extension() {
    for (const std::string_view column : extension_columns) {
      if (const Cell* cell = find(column)) row_.extension.emplace(column, cell->text);
    }
  }

  void parse_into(std::string_view column, const std::function<void(std::string_view)>& parse) {
    const Cell* cell = find(column);
    if (cell == nullptr || means_nothing(trim(cell->text))) return;
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

bool is_json(std::string_view text, const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  if (extension == ".jsonl" || extension == ".ndjson" || extension == ".json-lines" || extension == ".json")
    return true;
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  return begin != std::string_view::npos && (text[begin] == '{' || text[begin] == '[');
}

/// Kinds of files that are no text and begin with a known mark.
constexpr std::array<std::pair<std::string_view, std::string_view>, 7> other_kinds{
    {{"\xFF\xFE", "UTF-16"},
     {"\xFE\xFF", "UTF-16"},
     {"PK\x03\x04", "a workbook or another zip archive"},
     {"\xD0\xCF\x11\xE0", "an Excel workbook"},
     {"PAR1", "a Parquet file"},
     {"\x1F\x8B", "compressed with gzip"},
     {"\x89PNG", "an image"}}};

void check_encoding(std::string_view text, const std::filesystem::path& path) {
  for (const auto& [mark, kind] : other_kinds) {
    if (text.starts_with(mark)) {
      fail<UsageError>("{}:1:1: the manifest is {}; save it as {}", printable(path.string()), kind,
                       kind == "UTF-16" ? "UTF-8" : "CSV in UTF-8");
    }
  }
  if (text.size() > 3 && (text[0] == '\0') != (text[1] == '\0') && (text[2] == '\0') != (text[3] == '\0'))
    fail<UsageError>("{}:1:1: the manifest is UTF-16; save it as UTF-8", printable(path.string()));
  if (text.starts_with(utf8_mark)) text.remove_prefix(utf8_mark.size());
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    fail<UsageError>("{}:1:1: the manifest is empty; its first line names the columns: image,prompt",
                     printable(path.string()));
  }
}

/// Keeps ids unique. Two rows that give the same id are an error of the manifest. An automatic id that is
/// taken gets a number.
class IdRegister {
 public:
  explicit IdRegister(const std::filesystem::path& manifest) : manifest_(manifest) {}

  void add_given(const ManifestRow& row, std::int64_t column) {
    const auto [found, is_new] = lines_.try_emplace(row.id, row.line);
    if (is_new) return;
    fail<UsageError>("{}:{}:{}: this row has the id as line {}: '{}'; give each row an id of its own",
                     printable(manifest_.string()), row.line, column, found->second, row.id);
  }

  void add_automatic(ManifestRow& row) {
    int& number = numbers_[row.id];
    const std::string base = row.id;
    if (number > 0) row.id = fmt::format("{}-{}", base, ++number);
    while (!lines_.try_emplace(row.id, row.line).second) {
      number = std::max(number, 1);
      row.id = fmt::format("{}-{}", base, ++number);
    }
    number = std::max(number, 1);
  }

 private:
  const std::filesystem::path& manifest_;
  std::unordered_map<std::string, std::int64_t> lines_;
  std::unordered_map<std::string, int> numbers_;  ///< the last number of each automatic id
};

}  // namespace

std::vector<ManifestRow> parse_rows(const std::vector<RawRow>& raw_rows, const std::filesystem::path& path,
                                    TaskKind task) {
  std::vector<ManifestRow> rows;
  rows.reserve(raw_rows.size());
  IdRegister ids(path);
  std::vector<std::size_t> automatic;
  for (const RawRow& raw : raw_rows) {
    RowParser parser(raw, path, task);
    rows.push_back(parser.parse(std::ssize(rows)));
    if (parser.has_given_id()) {
      ids.add_given(rows.back(), raw.cells.at("id").position.column);
    } else {
      automatic.push_back(rows.size() - 1);
    }
  }
  for (const std::size_t row : automatic) ids.add_automatic(rows[row]);
  return rows;
}

std::string read_manifest(const std::filesystem::path& path) {
  try {
    std::string text = is_stream(path) ? read_stream(path == "-" ? "/dev/stdin" : path, max_manifest_bytes)
                                       : read_text_file(path, max_manifest_bytes);
    check_encoding(text, path);
    return text;
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    const bool is_lost = path.native().starts_with("/dev/fd/") && !std::filesystem::exists(path);
    fail<UsageError>("cannot use the manifest: {}{}", printable(error.what(), 2000),
                     is_lost
                         ? "; mpirun does not pass such files on: write the manifest to a file, or give '-' "
                           "and send it to standard input"
                         : "");
  }
}

RawManifest read_raw_manifest(std::string_view text, const std::filesystem::path& path,
                              const std::vector<std::string_view>& required, KeepFields keep) {
  check_encoding(text, path);
  if (text.starts_with(utf8_mark)) text.remove_prefix(utf8_mark.size());
  RawManifest raw;
  try {
    raw = is_json(text, path) ? read_json_rows(text, required) : read_csv_rows(text, required, keep);
  } catch (const ManifestError& error) {
    fail<UsageError>("{}:{}:{}: {}", printable(path.string()), error.position().line, error.position().column,
                     error.what());
  }
  if (raw.rows.empty()) {
    fail<UsageError>("{}: the manifest {}", printable(path.string()),
                     is_json(text, path) ? "holds no row with values" : "has a header but no rows");
  }
  return raw;
}

std::vector<ManifestRow> parse_manifest(std::string_view text, const std::filesystem::path& path,
                                        TaskKind task, std::vector<std::string>* notes) {
  std::vector<std::string_view> required{"prompt"};
  if (task == TaskKind::i2v) required.insert(required.begin(), "image");
  const RawManifest raw = read_raw_manifest(text, path, required);
  if (notes != nullptr) {
    for (const std::string& note : raw.notes)
      notes->push_back(fmt::format("{}: {}", printable(path.string()), note));
  }
  return parse_rows(raw.rows, path, task);
}

ItemError with_place(const ItemError& error, const ManifestRow& row, std::string_view manifest) {
  std::optional<Position> place;
  if (error.stage() == "image") place = row.image_place;
  if (error.stage() == "text") place = row.prompt_place;
  if (error.stage() == "negative_prompt") place = row.negative_prompt_place;
  if (error.stage() == "lora") place = row.lora_place;
  if (row.error || !place) return error;
  return {error.stage(),
          fmt::format("{}:{}:{}: {}", printable(manifest), place->line, place->column, error.what())};
}

void keep_shard(std::vector<ManifestRow>& rows, const Shard& shard) {
  std::erase_if(rows, [&](const ManifestRow& row) { return row.index % shard.count != shard.index; });
}

std::vector<ManifestRow> load_manifest(const std::filesystem::path& path, TaskKind task) {
  return parse_manifest(read_manifest(path), path, task);
}

}  // namespace wan::manifest
