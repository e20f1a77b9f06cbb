#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "batch/run_context.h"
#include "manifest/manifest.h"
#include "store/sidecar.h"

namespace wan::batch {

/// The stage of a failure without a record: the id belongs to another job.
inline constexpr const char* conflict_stage = "claim";

/// Drafted: a preview and a saved state are there, and the run wants no more. Other runs find such an item
/// open.
enum class ItemStatus { done, drafted, failed, open };
std::string_view to_string(ItemStatus status);

/// The content of the output folder about an item.
struct FoundItem {
  ItemStatus status = ItemStatus::open;
  std::optional<store::StoredRecord>
      record;  ///< the sidecar of a done item, the draft's or the failure's record of a drafted or failed one
  std::optional<std::uint64_t> kept_seed;  ///< a seed to keep if the user gives none
  std::string made_again;                  ///< of an open item with a sidecar: why the sidecar does not count
  std::string earlier_run;                 ///< of such an item: the run that made it
  bool is_earlier_answer = false;          ///< of such an item: it has the parameters that are wanted
};

/// The parameters that a good row asks for now. Reads the image for its checksum, unless its stamp is known
/// or equals that of `recorded`.
store::Parameters wanted_parameters(const manifest::ManifestRow& row, const RunContext& context,
                                    const Task& task, const std::optional<store::StampedHash>& recorded = {});

/// Looks an item up in the output folder. It is done if a sidecar answers the request and the outputs have
/// the recorded size and, with `by_content`, the recorded checksum. It has failed if a failure record answers
/// the request. Records of earlier runs count unless the context says otherwise (resume, retry_failed).
FoundItem look_up(const manifest::ManifestRow& row, const RunContext& context, const Task& task,
                  bool by_content);

/// Removes the unfinished files that the owner of `token` left of an item under hidden names.
void clear_away(const store::OutputFolder& folder, const std::string& id, const std::string& token);

/// Work on an item that a thread did beside the main one.
struct BackgroundPhase {
  std::string phase;
  std::chrono::steady_clock::time_point begin;
  std::chrono::steady_clock::time_point end;
};

/// The outcome of an item: one line of the summary.
struct ItemOutcome {
  std::string id;
  ItemStatus status = ItemStatus::open;
  bool of_this_run = false;
  PixelSize size{};
  int frames = 0;
  int steps = 0;
  double seconds = 0;
  double median_step_s = 0;
  std::string stage;        ///< of a failure
  std::string message;      ///< of a failure
  std::int64_t row = -1;    ///< of a conflict: its index among the rows
  std::string holder = {};  ///< of an open item: the living job that makes it; may be empty
  std::vector<BackgroundPhase> background = {};  ///< in the order of their beginnings

  /// Seconds from the first background phase's beginning to the last one's end; 0 without one.
  double background_s() const {
    if (background.empty()) return 0;
    return std::chrono::duration<double>(background.back().end - background.front().begin).count();
  }
};

ItemOutcome to_outcome(const manifest::ManifestRow& row, const FoundItem& found, const std::string& run);

/// The outcome of every row, read from the output folder.
std::vector<ItemOutcome> survey(std::span<const manifest::ManifestRow> rows, const RunContext& context,
                                const Task& task);

}  // namespace wan::batch
