#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "batch/item.h"
#include "batch/observer.h"
#include "batch/team_board.h"
#include "comm/communicator.h"
#include "wan/engine.h"
#include "wan/error.h"

namespace wan::batch {

/// What one group did.
struct GroupCounts {
  std::int64_t made = 0;
  std::int64_t failed = 0;
  std::int64_t steps_gained = 0;  ///< denoising steps made and kept: in finished items and saved states
  bool stopped = false;           ///< a stop was requested before all items were settled
  std::string problem = {};       ///< why nothing can be written any more, for which the run ends; or empty
  std::vector<std::int64_t> conflicts = {};  ///< rows whose ids another job makes with other values
};

/// Works through the manifest with one group: its leader (rank 0) claims the next item, tells the others, all
/// run the engine, the leader publishes video, latents and, last, the sidecar. When every row is settled or
/// claimed by owners that are alive, the group joins others of the run on `teams` in what they still do; ends
/// when all groups have come that far. When a stop is requested or the time limit is near, the item in flight
/// is saved and left. A row's ItemError becomes its failure record; every other exception leaves, on all
/// ranks: those that did not see it throw Error.
///
/// Collective over `group`; `rows`, and `context` but for group_index, are the same on all its ranks.
/// `observer` is used on the leader only.
GroupCounts run_group(Engine& engine, comm::Communicator& group, std::span<const manifest::ManifestRow> rows,
                      const RunContext& context, ItemObserver& observer, TeamBoard& teams);

/// Runs the engine for an order, on a rank that does not lead the item. An item that fails counts as
/// finished: its leader answers for it.
RunEnd take_part(Engine& engine, const Order& order, std::span<const manifest::ManifestRow> rows,
                 const RunContext& context, ItemObserver& observer);

/// The whole run's counts; every row is in exactly one of the first five.
struct RunCounts {
  std::int64_t made = 0;           ///< done by this run
  std::int64_t kept = 0;           ///< done before, or meanwhile by another run
  std::int64_t failed = 0;         ///< tried by this run
  std::int64_t failed_before = 0;  ///< by an earlier run and not tried again
  std::int64_t open = 0;           ///< not settled
  std::int64_t held = 0;           ///< of these: another run that is alive works on them
  std::int64_t steps_gained = 0;   ///< of all groups
  bool stopped = false;
  std::string problem = {};  ///< why nothing can be written any more, for which the run ended; or empty
  std::int64_t rows() const { return made + kept + failed + failed_before + open; }
};

RunCounts count(std::span<const ItemOutcome> outcomes, bool stopped);

/// 1 if the storage was at fault, else 85 if stopped with items left, else 3 if items failed (now or before),
/// else 1 if items are left that nobody works on, else 0: those that another living run works on are that
/// run's to answer for.
ExitCode exit_code(const RunCounts& counts);

/// "done", "some items failed", "stopped early: run again to go on", "items are left: run again to go on", or
/// the problem.
std::string_view exit_reason(const RunCounts& counts);

/// The end of a run, as all ranks see it.
struct RunResult {
  RunCounts counts;
  std::vector<ItemOutcome> outcomes;  ///< on rank 0
};

/// Collective over all ranks of the job after their run_group(): rank 0 surveys the output folder and writes
/// OUT/run.json, and the same to `context.run_record` if that is set; every rank gets the same counts. Throws
/// Error on all ranks if that fails on rank 0, unless the storage is at fault: then the counts say so.
RunResult finish_run(comm::Communicator& world, const GroupCounts& mine,
                     std::span<const manifest::ManifestRow> rows, const RunContext& context,
                     const Task& task);

/// The text of OUT/run.json.
std::string run_record(const RunCounts& counts, const RunContext& context);

}  // namespace wan::batch
