#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "batch/item.h"
#include "batch/runner.h"
#include "comm/communicator.h"
#include "wan/error.h"

namespace wan::batch {

/// The counts of the whole run. Every row is in exactly one of the first six.
struct RunCounts {
  std::int64_t made = 0;           ///< done by this run
  std::int64_t kept = 0;           ///< done before, or meanwhile by another run
  std::int64_t failed = 0;         ///< tried by this run
  std::int64_t failed_before = 0;  ///< by an earlier run and not tried again
  std::int64_t drafted = 0;        ///< with a preview, in a run that makes drafts
  std::int64_t open = 0;           ///< not settled
  std::int64_t held = 0;           ///< open items that another living run works on
  std::int64_t steps_gained = 0;   ///< of all groups
  bool stopped = false;
  StopCause stop_cause = StopCause::none;  ///< why, if it stopped
  std::string problem = {};  ///< why nothing could be written any more, so that the run ended; may be empty
  std::int64_t rows() const { return made + kept + failed + failed_before + drafted + open; }
};

RunCounts count(std::span<const ItemOutcome> outcomes, bool stopped, StopCause stop_cause = StopCause::none);

/// 1 if the storage was at fault; else 85 if stopped with items left; else 3 if items failed, now or before;
/// else 1 if items are left that nobody works on; else 0. Another living run answers for the items that it
/// works on.
ExitCode exit_code(const RunCounts& counts);

/// "done", "some items failed", "stopped early: run again to go on", the same with the stop file's name,
/// "items are left: run again to go on", or the problem.
std::string_view exit_reason(const RunCounts& counts);

/// The end of a run, equal on all ranks.
struct RunResult {
  RunCounts counts;
  std::vector<ItemOutcome> outcomes;  ///< on rank 0
};

/// Collective over all ranks of the job after their run_group(). Rank 0 surveys the output folder and writes
/// OUT/run.json, and the same text to `context.run_record` if that is set. Every rank gets the same counts.
/// If rank 0 fails, all ranks throw Error; but if the storage is at fault, the counts say so instead.
RunResult finish_run(comm::Communicator& world, const GroupCounts& mine,
                     std::span<const manifest::ManifestRow> rows, const RunContext& context,
                     const Task& task);

/// The text of OUT/run.json.
std::string run_record(const RunCounts& counts, const RunContext& context);

}  // namespace wan::batch
