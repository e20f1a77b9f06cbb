#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/batch_status.h"

// The single files from which the status of a batch is read.

namespace wan::store {

/// The time in which an item was worked on, in seconds since 1970.
struct WorkTime {
  double begin_s = 0;
  double end_s = 0;
};

/// "2025-11-03T10:00:00Z" as seconds since 1970; nothing if the text has another form.
std::optional<double> parse_utc(std::string_view text);

// These functions return nothing if the file is not a record of this program.

/// A record of an item that is done.
struct FinishedItem {
  WorkTime time;
  double steps_s = 0;        ///< spent on its denoising steps; 0: unknown
  bool of_manifest = false;  ///< not a single request
};

/// Also returns nothing if the item's video is missing or has another size than the record says, or if the
/// record is of another item than its name says: an earlier result that was kept.
std::optional<FinishedItem> read_finished_item(const std::filesystem::path& sidecar);
/// Whether a file is the record of the preview of the item `id`.
bool is_draft_record(const std::filesystem::path& record, const std::string& id);
std::optional<FailureStatus> read_failure(const std::filesystem::path& record, const std::string& id);
std::optional<LastRunStatus> read_last_run(const std::filesystem::path& record);

/// The content of an owner file, or of a claim, which is a link to one.
struct OwnerFile {
  std::string heartbeat;  ///< the first line
  std::string machine;
  std::string token;
  WorkerStatus worker;  ///< `id` is set only if the owner tells its progress
  int writing = 0;      ///< other items that it holds because their outputs are being written
};

/// Returns nothing if the text is not an owner's. A missing or damaged progress line counts as that of an
/// idle owner.
std::optional<OwnerFile> parse_owner_file(std::string_view text);
std::optional<OwnerFile> read_owner_file(const std::filesystem::path& path);

/// The item that a claim file's name holds, "ID.claim" or "ID.claim.N", and its generation (0 without N).
struct ClaimName {
  std::string id;
  int generation = 0;
};
std::optional<ClaimName> parse_claim_name(std::string_view name);

/// The seconds in [from_s, to_s] that at least one of the intervals covers.
double covered_s(std::vector<WorkTime> times, double from_s, double to_s);

}  // namespace wan::store
