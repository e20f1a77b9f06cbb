#include "manifest/manifest_format.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "core/check.h"
#include "core/strings.h"
#include "manifest/manifest.h"
#include "model/value_names.h"

namespace wan::manifest {
namespace {

/// Names in the hub's image folders.
constexpr std::array<std::pair<std::string_view, std::string_view>, 2> hub_names{
    {{"file_name", "image"}, {"text", "prompt"}}};

/// Lower case, with underscores for blanks and dashes.
std::string usual_spelling(std::string_view name) {
  std::string spelling(trim(name));
  std::ranges::transform(spelling, spelling.begin(), [](unsigned char c) {
    return static_cast<char>(c == ' ' || c == '-' ? '_' : std::tolower(c));
  });
  return spelling;
}

}  // namespace

std::optional<std::string_view> find_column(std::string_view name) {
  const std::string spelling = usual_spelling(name);
  std::string_view wanted = spelling;
  for (const auto& [theirs, ours] : hub_names) {
    if (wanted == theirs) wanted = ours;
  }
  const auto found = std::ranges::find(manifest_columns, wanted);
  if (found == manifest_columns.end()) return std::nullopt;
  return *found;
}

bool is_extension_column(std::string_view column) {
  return std::ranges::find(extension_columns, column) != extension_columns.end();
}

bool is_misspelt_column(std::string_view name) {
  constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyz0123456789_";
  return usual_spelling(name).find_first_not_of(letters) == std::string::npos &&
         nearest_name(name, manifest_columns).has_value();
}

std::string_view known_column(std::string_view name, Position position) {
  if (const auto column = find_column(name)) return *column;
  const auto known = value_called(usual_spelling(name));
  const auto nearest = known ? known : nearest_name(name, manifest_columns);
  throw ManifestError(
      position, nearest
                    ? fmt::format("unknown column '{}'; did you mean '{}'?", printable(name, 80), *nearest)
                    : fmt::format("unknown column '{}'; there are {}", printable(name, 80),
                                  fmt::join(manifest_columns, ", ")));
}

void add_row(RawRow row, RawManifest& manifest) {
  const bool is_empty =
      std::ranges::all_of(row.cells, [](const auto& entry) { return trim(entry.second.text).empty(); });
  if (is_empty && !row.problem) return;
  if (std::ssize(manifest.rows) == max_manifest_rows) {
    throw ManifestError(row.position,
                        fmt::format("more than {} rows; split the manifest", max_manifest_rows));
  }
  manifest.rows.push_back(std::move(row));
}

}  // namespace wan::manifest
