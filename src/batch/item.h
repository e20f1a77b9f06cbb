#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "manifest/manifest.h"
#include "manifest/resolve.h"
#include "store/claims.h"
#include "store/image_hashes.h"
#include "store/item_work.h"
#include "store/output_folder.h"
#include "store/sidecar.h"

namespace wan {
class Log;
}

namespace wan::batch {

/// What one group needs to know to work through a manifest. The same on all ranks but for group_index.
struct RunContext {
  store::OutputFolder folder;
  RequestOverrides command_line;
  manifest::RunSettings settings;
  store::ModelIdentity model = {};
  store::Origin origin;  ///< `line`, `started` and `ranks` are filled in per item
  std::string job;       ///< the scheduler's job id; may be empty
  /// Earlier runs of the same job, which the scheduler has started again: what they did counts even where
  /// that of other runs does not.
  std::vector<std::string> runs_of_job = {};
  bool resume = true;  ///< false: what runs before this job made is made again
  bool retry_failed = false;
  bool save_latents = false;
  int group_index = 0;
  int group_count = 1;
  int world_rank = 0;
  store::ClaimTiming timing;
  std::function<bool()> stop_requested =
      {};  ///< this rank was told to stop; asked between steps; may be empty
  std::function<bool()> stop_is_pending = {};  ///< the same for any thread, at any time; may be empty
  std::function<double()> elapsed_s = {};      ///< since the job began; needed with a time limit
  std::optional<double> time_limit_s = {};     ///< of the job, which stops in time
  double checkpoint_interval_s = 300;          ///< how often the item in flight is saved
  double join_worth_s = 5;  ///< what idle groups must save an item for them to join its group
  bool on_gpu = false;
  std::filesystem::path run_record = {};  ///< where run.json goes as well; may be empty
  Log* log = nullptr;                     ///< may be null
  std::shared_ptr<store::ImageHashes> image_hashes =
      std::make_shared<store::ImageHashes>();  ///< of this rank
  std::vector<store::ItemWork> row_work = {};  ///< of every row; empty: all rows are taken to be alike

  bool is_of_this_job(const std::string& run) const;
  store::ItemWork work_of(std::size_t row) const {
    return row < row_work.size() ? row_work[row] : store::ItemWork();
  }
};

/// The stage of a failure that is in no record: the id is another job's.
inline constexpr const char* conflict_stage = "claim";

enum class ItemStatus { done, failed, open };
std::string_view to_string(ItemStatus status);

/// Where an item stands, as the output folder tells.
struct ItemState {
  ItemStatus status = ItemStatus::open;
  std::optional<store::StoredRecord>
      record;                              ///< the sidecar of a done item, the failure record of a failed one
  std::optional<std::uint64_t> kept_seed;  ///< for a seed that the user does not give
  std::string made_again;                  ///< of an open item that has a sidecar: why that does not count
  std::string earlier_run;                 ///< of such an item: the run that made it
  bool is_earlier_answer = false;          ///< of such an item: its parameters are those wanted
};

/// What a good row asks for now. Reads the image for its checksum, unless its stamp is known or is that of
/// `recorded`.
store::Parameters wanted_parameters(const manifest::ManifestRow& row, const RunContext& context,
                                    const Task& task, const std::optional<store::StampedHash>& recorded = {});

/// Looks an item up in the output folder. Done: a sidecar that answers the request, with outputs of the
/// recorded size and, with `by_content`, checksum. Failed: a failure record that answers it. Records of
/// earlier runs count unless the context says otherwise (resume, retry_failed).
ItemState look_up(const manifest::ManifestRow& row, const RunContext& context, const Task& task,
                  bool by_content);

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
  std::string stage;        ///< of a failure
  std::string message;      ///< of a failure
  std::int64_t row = -1;    ///< of a conflict: its place among the rows
  std::string holder = {};  ///< of an open item: the living job that makes it; empty: none
};

ItemOutcome to_outcome(const manifest::ManifestRow& row, const ItemState& state, const std::string& run);

/// Every row's outcome, read from the output folder.
std::vector<ItemOutcome> survey(std::span<const manifest::ManifestRow> rows, const RunContext& context,
                                const Task& task);

}  // namespace wan::batch
