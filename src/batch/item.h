#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "batch/claims.h"
#include "batch/item_work.h"
#include "batch/manifest.h"
#include "batch/output_folder.h"
#include "batch/resolve.h"
#include "batch/sidecar.h"

namespace wan {
class Log;
}

namespace wan::batch {

/// What one group needs to know to work through a manifest. The same on all ranks but for group_index.
struct RunContext {
  OutputFolder folder;
  RequestOverrides command_line;
  RunSettings settings;
  Origin origin;       ///< `line`, `started` and `ranks` are filled in per item
  std::string job;     ///< the scheduler's job id; may be empty
  bool resume = true;  ///< false: what earlier runs made is made again
  bool retry_failed = false;
  bool save_latents = false;
  int group_index = 0;
  int group_count = 1;
  int world_rank = 0;
  ClaimTiming timing;
  std::function<bool()> stop_requested =
      {};                                   ///< this rank was told to stop; asked between steps; may be empty
  std::function<double()> elapsed_s = {};   ///< since the job began; needed with a time limit
  std::optional<double> time_limit_s = {};  ///< of the job, which stops in time
  double checkpoint_interval_s = 300;       ///< how often the item in flight is saved
  double join_worth_s = 5;                  ///< what idle groups must save an item for them to join its group
  bool on_gpu = false;
  std::filesystem::path run_record = {};  ///< where run.json goes as well; may be empty
  Log* log = nullptr;                     ///< may be null
  std::vector<ItemWork> row_work = {};    ///< of every row; empty: all rows are taken to be alike

  ItemWork work_of(std::size_t row) const { return row < row_work.size() ? row_work[row] : ItemWork(); }
};

enum class ItemStatus { done, failed, open };
std::string_view to_string(ItemStatus status);

/// Where an item stands, as the output folder tells.
struct ItemState {
  ItemStatus status = ItemStatus::open;
  std::optional<StoredRecord> record;     ///< the sidecar of a done item, the failure record of a failed one
  std::optional<std::int64_t> kept_seed;  ///< an automatic seed that an earlier attempt drew
};

/// What a good row asks for now; reads the image for its checksum.
Parameters wanted_parameters(const ManifestRow& row, const RunContext& context, const Task& task);

/// Looks an item up in the output folder. Done: a sidecar that answers the request, with outputs of the
/// recorded size and, with `by_content`, checksum. Failed: a failure record that answers it. Records of
/// earlier runs count unless the context says otherwise (resume, retry_failed).
ItemState look_up(const ManifestRow& row, const RunContext& context, const Task& task, bool by_content);

/// One line of the summary.
struct ItemOutcome {
  std::string id;
  ItemStatus status = ItemStatus::open;
  bool of_this_run = false;
  PixelSize size{};
  int frames = 0;
  int steps = 0;
  double seconds = 0;
  double median_step_s = 0;
  std::string stage;    ///< of a failure
  std::string message;  ///< of a failure
};

ItemOutcome to_outcome(const ManifestRow& row, const ItemState& state, const std::string& run);

/// Every row's outcome, read from the output folder.
std::vector<ItemOutcome> survey(std::span<const ManifestRow> rows, const RunContext& context,
                                const Task& task);

}  // namespace wan::batch
