#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "batch/item.h"
#include "batch/observer.h"
#include "batch/team_letters.h"
#include "comm/communicator.h"
#include "wan/engine.h"

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
                      const RunContext& context, ItemObserver& observer, TeamLetters& teams);

/// Runs the engine for an order, on a rank that does not lead the item. An item that fails counts as
/// finished: its leader answers for it.
RunEnd take_part(Engine& engine, const Order& order, std::span<const manifest::ManifestRow> rows,
                 const RunContext& context, ItemObserver& observer);

}  // namespace wan::batch
