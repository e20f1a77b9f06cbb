#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/batch_status.h"

// The single files that a batch's status is read from.

namespace wan::store {

/// When an item was worked on, seconds since 1970.
struct WorkTime {
  double begin_s = 0;
  double end_s = 0;
};

/// "2025-11-03T10:00:00Z" as seconds since 1970; nothing if it is not such a text.
std::optional<double> parse_utc(std::string_view text);

// Nothing if the file is no record of this program's.

/// A record of an item that is done.
struct FinishedItem {
  WorkTime time;
  double steps_s = 0;        ///< that its denoising steps took; 0: not told
  bool of_manifest = false;  ///< not a single request
};

/// Nothing too if the item's video is not there in the recorded size, or if the record is not the one of the
/// item that its name says: an earlier result that was kept aside.
std::optional<FinishedItem> read_finished_item(const std::filesystem::path& sidecar);
std::optional<FailureStatus> read_failure(const std::filesystem::path& record, const std::string& id);
std::optional<LastRunStatus> read_last_run(const std::filesystem::path& record);

/// An owner file or a claim, which is a link to one.
struct OwnerFile {
  std::string heartbeat;  ///< the first line
  std::string machine;
  std::string token;
  WorkerStatus worker;  ///< `id` only where the owner tells its progress
};

/// Nothing if the text is no owner's. A missing or damaged progress line is as good as an idle owner's.
std::optional<OwnerFile> parse_owner_file(std::string_view text);
std::optional<OwnerFile> read_owner_file(const std::filesystem::path& path);

/// The item of a claim file's name, "ID.claim" or "ID.claim.N", and its generation (0 without N).
struct ClaimName {
  std::string id;
  int generation = 0;
};
std::optional<ClaimName> parse_claim_name(std::string_view name);

/// Seconds that the intervals cover together, of what lies in [from_s, to_s].
double covered_s(std::vector<WorkTime> times, double from_s, double to_s);

}  // namespace wan::store
