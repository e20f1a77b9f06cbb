#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "batch/csv.h"

// What the two manifest formats, CSV and JSON lines, hand to the parser of rows.

namespace wan::batch {

/// Every column that a manifest may have.
inline constexpr std::array<std::string_view, 12> manifest_columns{
    "id",        "image",        "prompt",       "negative_prompt",    "seed",          "size",
    "frame_num", "sample_steps", "sample_shift", "sample_guide_scale", "sample_solver", "boundary"};

struct Cell {
  std::string text;
  Position position;
};

/// What is wrong with a row, and where.
struct Problem {
  Position position;
  std::string message;
};

/// A row before its values are looked at.
struct RawRow {
  Position position;
  std::map<std::string_view, Cell> cells;  ///< by column, keys from manifest_columns; only those given
  std::optional<Problem> problem;          ///< the row's form is wrong already
};

/// Concerns the manifest as a whole.
class ManifestError : public ValueError {
 public:
  ManifestError(Position position, const std::string& message) : ValueError(message), position_(position) {}
  Position position() const { return position_; }

 private:
  Position position_;
};

/// The member of manifest_columns of this name; throws ManifestError that suggests the nearest one.
std::string_view known_column(std::string_view name, Position position);

/// Both throw ManifestError. `required` are the columns that must be there.
std::vector<RawRow> read_csv_rows(std::string_view text, const std::vector<std::string_view>& required);
std::vector<RawRow> read_json_rows(std::string_view text, const std::vector<std::string_view>& required);

}  // namespace wan::batch
