#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace wan::store {

// How a batch stands, from the files in its output folder alone. Nothing is opened for writing and no claim
// is made, so that a running batch is not disturbed. The files may be anything: what does not parse counts as
// not there.

/// A group at work, or one that died at it.
struct WorkerStatus {
  std::string host;
  std::int64_t pid = 0;
  std::string job;  ///< the scheduler's; may be empty
  std::string run;
  bool is_alive = false;
  std::string id;     ///< of its item; empty: between items
  std::string phase;  ///< of the item; without an item, "load" while the checkpoint is loaded
  int step = 0;       ///< steps done
  int steps = 0;      ///< 0: not told
  double step_s = 0;  ///< seconds per step; 0: not told
};

struct FailureStatus {
  std::string id;
  bool of_manifest = false;  ///< not a single request
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
  std::int64_t saved = 0;    ///< open items whose state was saved in mid-way
  std::int64_t former = 0;   ///< more items that are done or failed, but whose manifest lists them no longer
  std::vector<std::string> changed_manifests;  ///< edited since their last run, whose rows are counted here
  std::vector<WorkerStatus> workers;
  std::vector<FailureStatus> failures;  ///< by id
  std::optional<LastRunStatus> last_run;
  double last_hour_items_per_hour = 0;  ///< 0: none was made
  double overall_items_per_hour = 0;
  std::optional<double> left_s;  ///< until every row is done or failed at the present rate; empty: not known

  std::int64_t open() const { return rows - done - failed - running; }
  bool is_running() const;
};

/// How long owners are watched. Those whose file was written a moment ago are not waited for.
struct StatusTiming {
  std::chrono::milliseconds fresh{7'000};  ///< a heartbeat and a bit
  std::chrono::milliseconds look{7'000};   ///< for a sign of life of the others
  std::chrono::milliseconds poll{200};
};

/// Reads the folder. Returns as soon as every owner has shown life or is known to be gone, at the latest
/// after `timing.look`. Throws UsageError if the folder is not there or nothing in it is of this program.
BatchStatus read_status(const std::filesystem::path& folder, const StatusTiming& timing = {});

}  // namespace wan::store
