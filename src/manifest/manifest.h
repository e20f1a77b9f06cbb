#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "manifest/csv.h"
#include "model/request_values.h"
#include "wan/error.h"
#include "wan/request.h"

namespace wan::manifest {

/// One row of the manifest: a video to make, or the reason why it cannot be made.
struct ManifestRow {
  std::int64_t index = 0;       ///< 0-based among the rows; an automatic seed counts it
  std::int64_t line = 0;        ///< 1-based line where the row begins
  std::string id;               ///< safe as a file stem and unique in the manifest, for a bad row too
  std::filesystem::path image;  ///< a relative path is resolved against the manifest's folder; empty for t2v
  std::string prompt;           ///< UTF-8
  std::optional<Position> image_place;            ///< of the image's value in the manifest
  std::optional<Position> prompt_place;           ///< of the prompt's value
  std::optional<Position> negative_prompt_place;  ///< of the negative prompt's value
  std::optional<Position> lora_place;             ///< of the LoRAs' value
  RequestOverrides overrides;
  int lora_set = 0;  ///< Request::lora_set; whoever resolves the LoRAs of all rows sets it
  /// Where the prompt comes from, by the columns of jobs/extend_prompts.py that the row has. For the records
  /// only.
  std::map<std::string, std::string> extension;
  std::optional<std::string> error;  ///< set for a bad row: the complete message, with file, line and column
};

/// Limits on untrusted manifests.
inline constexpr std::uint64_t max_manifest_bytes = std::uint64_t{256} << 20;
inline constexpr std::int64_t max_manifest_rows = 1'000'000;
inline constexpr std::size_t max_value_bytes = std::size_t{1} << 20;

/// Reads the manifest's bytes. Throws UsageError if it cannot be read, is empty or too large. "-" and
/// /dev/stdin are standard input, and the shell's <(...) makes /dev/fd/N. Any other name must be a regular
/// file's. For rank 0: the bytes are broadcast, and every rank parses them in the same way.
std::string read_manifest(const std::filesystem::path& path);

/// Parses a manifest. It holds JSON lines or a JSON list of objects if the name ends in .jsonl, .ndjson,
/// .json-lines or .json, or if the text begins with '{' or '['. Otherwise it is CSV with a header line (RFC
/// 4180, UTF-8). A byte order mark, CRLF, and semicolons, tabs or bars instead of commas are accepted. The
/// columns are image (required for i2v, empty for t2v) and prompt, and optionally id, negative_prompt, seed,
/// size, frame_num, sample_steps, sample_shift, sample_guide_scale, sample_solver, boundary and lora.
/// The columns of jobs/extend_prompts.py (original_prompt, extend_model, ...) are copied into the records and
/// name no item. An empty
/// value counts as missing, and so do NaN and null for a number. Rows without any value are skipped. Rows
/// without an id get one from their values, with a number if the id is taken. Remarks for the author go to
/// `notes`, if that is given.
///
/// Throws UsageError, with file, line and column, for a problem of the whole manifest: no rows, too many
/// rows, a quote that is never closed, an unknown or missing column, or two rows that give the same id. Any
/// other problem is the row's own error and does not affect other rows.
std::vector<ManifestRow> parse_manifest(std::string_view text, const std::filesystem::path& path,
                                        TaskKind task, std::vector<std::string>* notes = nullptr);

/// The engine's error about a value of a row, with the value's place in the manifest.
ItemError with_place(const ItemError& error, const ManifestRow& row, std::string_view manifest);

/// A share of a manifest's rows: the rows whose index leaves the remainder `index` when divided by `count`.
struct Shard {
  std::int64_t index = 0;  ///< 0..count-1
  std::int64_t count = 1;
  bool operator==(const Shard&) const = default;
};

/// Keeps a shard's rows only, each with its index, line and id in the whole manifest. There may be none.
void keep_shard(std::vector<ManifestRow>& rows, const Shard& shard);

/// Calls read_manifest() and parse_manifest().
std::vector<ManifestRow> load_manifest(const std::filesystem::path& path, TaskKind task);

}  // namespace wan::manifest
