#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "manifest/csv.h"
#include "manifest/manifest.h"

// The data that the two manifest formats, CSV and JSON lines, give to the parser of rows.

namespace wan::manifest {

/// The columns that jobs/extend_prompts.py adds. They say where a prompt comes from, and decide nothing about
/// a video.
inline constexpr std::array<std::string_view, 6> extension_columns{"original_prompt",     "extend_model",
                                                                   "extend_model_sha256", "extend_settings",
                                                                   "extend_seed",         "extend_status"};

/// Every column that a manifest may have.
inline constexpr std::array<std::string_view, 19> manifest_columns{"id",
                                                                   "image",
                                                                   "prompt",
                                                                   "negative_prompt",
                                                                   "seed",
                                                                   "size",
                                                                   "frame_num",
                                                                   "sample_steps",
                                                                   "sample_shift",
                                                                   "sample_guide_scale",
                                                                   "sample_solver",
                                                                   "boundary",
                                                                   "lora",
                                                                   "original_prompt",
                                                                   "extend_model",
                                                                   "extend_model_sha256",
                                                                   "extend_settings",
                                                                   "extend_seed",
                                                                   "extend_status"};

bool is_extension_column(std::string_view column);

struct Cell {
  std::string text;
  Position position;
  bool may_be_trimmed = false;  ///< written without quotes: blanks around it may only be there for the eye
};

/// A row before its values are parsed.
struct RawRow {
  Position position;
  std::map<std::string_view, Cell> cells;  ///< the given cells by column; the keys are from manifest_columns
  std::optional<Problem> problem;          ///< set if the row's form is already wrong
  std::vector<CsvField> fields;            ///< of a CSV row, as written; only with KeepFields::yes
};

/// All rows of a manifest, and remarks for its author about things that are not wrong.
struct RawManifest {
  std::vector<RawRow> rows;
  std::vector<std::string> notes;
  std::optional<char> delimiter;  ///< of a CSV manifest
  std::vector<CsvField> header;   ///< of a CSV manifest, as written, up to the last column with a name
};

enum class KeepFields { no, yes };

/// A problem of the whole manifest.
class ManifestError : public ValueError {
 public:
  ManifestError(Position position, const std::string& message) : ValueError(message), position_(position) {}
  Position position() const { return position_; }

 private:
  Position position_;
};

/// The member of manifest_columns that a name in a header or an object means, in any letter case. `file_name`
/// and `text`, the names in the hub's image folders, mean `image` and `prompt`. Returns nothing if there is
/// no such column.
std::optional<std::string_view> find_column(std::string_view name);
/// Whether a name looks like a misspelt column.
bool is_misspelt_column(std::string_view name);
/// As find_column(), but throws ManifestError that suggests the nearest column.
std::string_view known_column(std::string_view name, Position position);

/// Adds a row unless it holds no value. Throws ManifestError if there are too many rows.
void add_row(RawRow row, RawManifest& manifest);

/// These functions throw ManifestError. `required`: the columns that must be there. read_json_rows() takes
/// JSON lines or an array of objects.
RawManifest read_csv_rows(std::string_view text, const std::vector<std::string_view>& required,
                          KeepFields keep = KeepFields::no);
RawManifest read_json_rows(std::string_view text, const std::vector<std::string_view>& required);

/// Reads the rows in the format that the name and the text show. Throws UsageError.
RawManifest read_raw_manifest(std::string_view text, const std::filesystem::path& path,
                              const std::vector<std::string_view>& required,
                              KeepFields keep = KeepFields::no);
/// Parses the values of raw rows. Throws UsageError if two rows give the same id.
std::vector<ManifestRow> parse_rows(const std::vector<RawRow>& raw_rows, const std::filesystem::path& path,
                                    TaskKind task);

}  // namespace wan::manifest
