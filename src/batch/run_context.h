#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "batch/stop_cause.h"
#include "core/log.h"
#include "manifest/resolve.h"
#include "store/claims.h"
#include "store/image_hashes.h"
#include "store/item_work.h"
#include "store/output_folder.h"
#include "store/sidecar.h"

namespace wan::batch {

/// A set of LoRAs as records name it.
struct LoraRecord {
  std::vector<store::LoraIdentity> identity = {};
  std::vector<std::string> files = {};    ///< in the same order
  std::vector<std::string> options = {};  ///< that ask for the set
};

/// The values that turn a row into a request, beside the row itself.
struct RequestSource {
  RequestOverrides command_line;
  manifest::RunSettings settings;
  store::ModelIdentity model = {};         ///< without LoRAs, if there are sets of them
  std::vector<LoraRecord> lora_sets = {};  ///< ManifestRow::lora_set counts them; may be empty
  int first_lora_set = 0;                  ///< that the group's weights have at first
  /// The checksums of images that this rank has read.
  std::shared_ptr<store::ImageHashes> image_hashes = std::make_shared<store::ImageHashes>();

  /// The LoRAs of a row; null if the run has no sets.
  const LoraRecord* loras_of(const manifest::ManifestRow& row) const {
    const auto set = static_cast<std::size_t>(row.lora_set);
    return set < lora_sets.size() ? &lora_sets[set] : nullptr;
  }
};

/// The names of settings in messages and records. A program puts its options here.
struct SettingNames {
  std::string no_resume = "earlier results do not count";
  std::string retry_failed = "a retry of failed items";
  std::string output_folder = "output folder";
  std::string continue_chosen = "the chosen items in";
};

/// Which earlier results count, and which files an item gets.
struct ResultPolicy {
  bool resume = true;  ///< false: results from before this job do not count, and their items are made again
  bool retry_failed = false;  ///< failures from before this job do not count
  bool save_latents = false;
  bool step_latents = false;  ///< with them, those after each step
  Draft draft = {};  ///< if it is wanted, items get a preview and a saved state in place of their video
  SettingNames names = {};
};

/// The scheduler's job that a run belongs to.
struct JobIdentity {
  std::string id;  ///< may be empty
  /// Earlier runs of the same job, which the scheduler has started again. Their results always count.
  std::vector<std::string> earlier_runs = {};
  /// Runs of the same job that ended because a signal killed a rank. Their deaths count.
  std::vector<std::string> crashed_runs = {};
};

/// The place of this rank and its group in the run.
struct GroupPlace {
  int group_index = 0;
  int group_count = 1;
  int world_rank = 0;
  bool on_gpu = false;
};

/// How a run learns that it has to stop, beside the stop file in its output folder. Every function may be
/// empty.
struct StopSources {
  std::function<bool()> is_requested = {};        ///< this rank was told to stop; called between steps
  std::function<bool()> is_pending = {};          ///< the same; any thread may call it at any time
  std::function<double()> elapsed_s = {};         ///< seconds since the job began; needed with a time limit
  std::optional<double> time_limit_s = {};        ///< of the job, which stops in time
  StopCause limit_cause = StopCause::time_limit;  ///< whose limit that is
};

/// A log that writes nowhere.
inline std::shared_ptr<Log> silent_log() {
  return std::make_shared<Log>(/*rank=*/-1, LogLevel::quiet, /*console=*/nullptr);
}

/// Everything that one group needs to know to work through a manifest. Equal on all ranks, apart from `place`
/// and `log`.
struct RunContext {
  store::OutputFolder folder;
  RequestSource requests;
  ResultPolicy results;
  store::Origin origin;  ///< `line`, `started` and `ranks` are filled in for each item
  JobIdentity job;
  GroupPlace place;
  StopSources stop;
  store::ClaimTiming timing;
  double checkpoint_interval_s = 300;  ///< between saved states of the item in flight
  /// Threads of each leader that write videos while its group makes the next item; 0: the group waits until a
  /// video is written.
  int writers = 0;
  /// Where experts take turns: items that go through the first expert before the second is read. 0: experts
  /// take no turns.
  int items_in_turn = 0;
  double join_worth_s = 5;                ///< idle groups join an item only if they save it this much
  std::filesystem::path run_record = {};  ///< a second place for run.json; may be empty
  std::filesystem::path job_start = {};   ///< the job's record of this start, without extension; may be empty
  std::shared_ptr<Log> log = silent_log();     ///< never null
  std::vector<store::ItemWork> row_work = {};  ///< of every row; empty: all rows are taken to be alike

  /// Whether `run` is this run or an earlier start of the same job.
  bool is_of_this_job(const std::string& run) const;
  /// Whether a signal killed a rank of `run`, which was an earlier start of the same job.
  bool has_crashed(const std::string& run) const;
  store::ItemWork work_of(std::size_t row) const {
    return row < row_work.size() ? row_work[row] : store::ItemWork();
  }
};

}  // namespace wan::batch
