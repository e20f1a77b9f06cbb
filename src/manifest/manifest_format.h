#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "manifest/csv.h"

// The data that the two manifest formats, CSV and JSON lines, give to the parser of rows.

namespace wan::manifest {

/// Every column that a manifest may have.
inline constexpr std::array<std::string_view, 12> manifest_columns{
    "id",        "image",        "prompt",       "negative_prompt",    "seed",          "size",
    "frame_num", "sample_steps", "sample_shift", "sample_guide_scale", "sample_solver", "boundary"};

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
};

/// All rows of a manifest, and remarks for its author about things that are not wrong.
struct RawManifest {
  std::vector<RawRow> rows;
  std::vector<std::string> notes;
};

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
RawManifest read_csv_rows(std::string_view text, const std::vector<std::string_view>& required);
RawManifest read_json_rows(std::string_view text, const std::vector<std::string_view>& required);

}  // namespace wan::manifest
