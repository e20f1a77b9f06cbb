#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "manifest/csv.h"
#include "model/request_values.h"
#include "wan/error.h"
#include "wan/request.h"

namespace wan::manifest {

/// One row of the manifest: one video to make, or the reason why not.
struct ManifestRow {
  std::int64_t index = 0;       ///< 0-based among the rows; what an automatic seed counts
  std::int64_t line = 0;        ///< 1-based line where the row begins
  std::string id;               ///< safe as a file stem and unique in the manifest, also for a bad row
  std::filesystem::path image;  ///< relative ones resolved against the manifest's folder; empty for t2v
  std::string prompt;           ///< UTF-8
  std::optional<Position> image_place;            ///< of the value in the manifest
  std::optional<Position> prompt_place;           ///< likewise
  std::optional<Position> negative_prompt_place;  ///< likewise
  RequestOverrides overrides;
  std::optional<std::string> error;  ///< set for a bad row: the complete message, with file, line and column
};

/// Limits on untrusted manifests.
inline constexpr std::uint64_t max_manifest_bytes = std::uint64_t{256} << 20;
inline constexpr std::int64_t max_manifest_rows = 1'000'000;
inline constexpr std::size_t max_value_bytes = std::size_t{1} << 20;

/// The manifest's bytes; throws UsageError if it cannot be read, is empty or too large. "-" is standard
/// input, which may be named /dev/stdin too, and /dev/fd/N what the shell's <(...) makes; any other name must
/// be a regular file's. For rank 0: the bytes are broadcast and every rank parses them alike.
std::string read_manifest(const std::filesystem::path& path);

/// Parses a manifest. JSON lines or a JSON list of objects if the name ends in .jsonl, .ndjson, .json-lines
/// or .json or the text begins with '{' or '[', else CSV (RFC 4180, UTF-8; a byte order mark, CRLF, and
/// semicolons, tabs or bars instead of commas are accepted) with a header line. Columns: image (required for
/// i2v, empty for t2v), prompt, and optionally id, negative_prompt, seed, size, frame_num, sample_steps,
/// sample_shift, sample_guide_scale, sample_solver, boundary. An empty value is as good as none, and so are
/// NaN and null for a number. Rows without any value are skipped. Rows without an id get one from their
/// values, with a number if it is taken. What the author should know goes to `notes`, if that is given.
///
/// Throws UsageError, with file, line and column, for what concerns the manifest as a whole: no rows, too
/// many rows, a quote that is never closed, an unknown or missing column, two rows that give the same id.
/// Anything else is the row's own error and leaves the other rows alone.
std::vector<ManifestRow> parse_manifest(std::string_view text, const std::filesystem::path& path,
                                        TaskKind task, std::vector<std::string>* notes = nullptr);

/// What the engine found wrong with a value of a row, with the value's place in the manifest.
ItemError with_place(const ItemError& error, const ManifestRow& row, std::string_view manifest);

/// A share of a manifest's rows: those whose index leaves `index` when divided by `count`.
struct Shard {
  std::int64_t index = 0;  ///< 0..count-1
  std::int64_t count = 1;
  bool operator==(const Shard&) const = default;
};

/// Leaves a shard's rows, each with the index, line and id that it has in the whole manifest. There may be
/// none.
void keep_shard(std::vector<ManifestRow>& rows, const Shard& shard);

/// read_manifest and parse_manifest in one.
std::vector<ManifestRow> load_manifest(const std::filesystem::path& path, TaskKind task);

}  // namespace wan::manifest
