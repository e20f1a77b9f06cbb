#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "manifest/csv.h"

// What the two manifest formats, CSV and JSON lines, hand to the parser of rows.

namespace wan::manifest {

/// Every column that a manifest may have.
inline constexpr std::array<std::string_view, 12> manifest_columns{
    "id",        "image",        "prompt",       "negative_prompt",    "seed",          "size",
    "frame_num", "sample_steps", "sample_shift", "sample_guide_scale", "sample_solver", "boundary"};

struct Cell {
  std::string text;
  Position position;
  bool may_be_trimmed = false;  ///< written without quotes: blanks around it may be there for the eye only
};

/// A row before its values are looked at.
struct RawRow {
  Position position;
  std::map<std::string_view, Cell> cells;  ///< by column, keys from manifest_columns; only those given
  std::optional<Problem> problem;          ///< the row's form is wrong already
};

/// All rows of a manifest, and what its author should know though nothing is wrong.
struct RawManifest {
  std::vector<RawRow> rows;
  std::vector<std::string> notes;
};

/// Concerns the manifest as a whole.
class ManifestError : public ValueError {
 public:
  ManifestError(Position position, const std::string& message) : ValueError(message), position_(position) {}
  Position position() const { return position_; }

 private:
  Position position_;
};

/// The member of manifest_columns that a header's or an object's name means, in any letter case, and with
/// `file_name` and `text`, as the hub's image folders have them, for `image` and `prompt`; nothing if there
/// is none.
std::optional<std::string_view> find_column(std::string_view name);
/// Whether a name looks like a column's with a slip in it.
bool is_misspelt_column(std::string_view name);
/// As find_column(); throws ManifestError that suggests the nearest one.
std::string_view known_column(std::string_view name, Position position);

/// Adds a row unless it holds no value. Throws ManifestError when there are too many.
void add_row(RawRow row, RawManifest& manifest);

/// All throw ManifestError. `required` are the columns that must be there. `read_json_rows` takes JSON lines
/// or an array of objects.
RawManifest read_csv_rows(std::string_view text, const std::vector<std::string_view>& required);
RawManifest read_json_rows(std::string_view text, const std::vector<std::string_view>& required);

}  // namespace wan::manifest
