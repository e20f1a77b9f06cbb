#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace wan::store {

// The status of a batch, from the files in its output folder alone. Reading it opens nothing for writing and
// makes no claim, so that a running batch is not disturbed. The files may hold anything: a file that does not
// parse counts as missing.

/// A group at work, or one that died at its work.
struct WorkerStatus {
  std::string host;
  std::int64_t pid = 0;
  std::string job;  ///< the scheduler's; may be empty
  std::string run;
  bool is_alive = false;
  std::string id;     ///< of its item; empty: between items
  std::string phase;  ///< of the item ("write": its steps are done, and its group makes another one beside);
                      ///< without an item, "load" while the checkpoint is loaded
  int step = 0;       ///< steps done
  int steps = 0;      ///< 0: unknown
  double step_s = 0;  ///< seconds per step; 0: unknown
};

struct FailureStatus {
  std::string id;
  bool of_manifest = false;  ///< not a single request
  std::string manifest;      ///< its path, as the run was given it
  std::int64_t line = 0;     ///< of the row; 0: unknown
  std::string stage;
  std::string message;
};

/// The record of the last run that ended.
struct LastRunStatus {
  std::string run;
  std::string ended;
  int exit_code = 0;
  std::string exit_reason;
};

struct BatchStatus {
  std::int64_t rows = 0;  ///< items of the manifests that run here, each id once, and single requests
  std::int64_t done = 0;
  std::int64_t failed = 0;
  std::int64_t running = 0;  ///< items in the hands of a living owner
  std::int64_t drafted = 0;  ///< items with a preview that the last run did not have to make
  std::int64_t saved = 0;    ///< open items with a saved state
  std::int64_t former = 0;   ///< other items that are done or failed, but that their manifest no longer lists
  std::vector<std::string> changed_manifests;  ///< edited since their last run; their rows are counted here
  std::vector<WorkerStatus> workers;
  std::vector<FailureStatus> failures;  ///< by id
  std::optional<LastRunStatus> last_run;
  double last_hour_items_per_hour = 0;  ///< 0: no item was made
  double overall_items_per_hour = 0;
  bool has_stop_file = false;    ///< OUT/STOP is there: runs stop, and none starts
  std::optional<double> left_s;  ///< until every row is done or failed at the present rate; empty: unknown

  std::int64_t open() const { return rows - done - failed - running - drafted; }
  bool is_running() const;
};

/// How long owners are watched. An owner whose file was written a moment ago needs no watching.
struct StatusTiming {
  std::chrono::milliseconds fresh{7'000};  ///< a little more than a heartbeat
  std::chrono::milliseconds look{7'000};   ///< how long to wait for a heartbeat of the others
  std::chrono::milliseconds poll{200};
};

/// Reads the folder. Returns as soon as every owner is known to be alive or gone, at the latest after
/// `timing.look`. Throws UsageError if the folder is missing or holds nothing of this program.
BatchStatus read_status(const std::filesystem::path& folder, const StatusTiming& timing = {});

}  // namespace wan::store
