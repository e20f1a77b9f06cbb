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

/// The counts of one group.
struct GroupCounts {
  std::int64_t made = 0;
  std::int64_t failed = 0;
  std::int64_t steps_gained = 0;  ///< denoising steps made and kept: in finished items and saved states
  bool stopped = false;           ///< a stop was requested before all items were settled
  StopCause stop_cause = StopCause::none;  ///< why, as far as this rank knows
  std::string problem = {};  ///< why nothing can be written any more, so that the run ends; may be empty
  std::vector<std::int64_t> conflicts = {};  ///< rows whose ids another job makes with other values
};

/// Works through the manifest with one group. Its leader (rank 0) claims the next item and tells the others.
/// All run the engine, and the leader publishes the video, the latents and, last, the sidecar. When every row
/// is settled or claimed by living owners, the group joins other groups of the run (`teams`) in their items.
/// It returns when all groups have no items left. When a stop is requested or the time limit is near, the
/// item in flight is saved and left. A row's ItemError becomes its failure record. Any other exception leaves
/// on all ranks: the ranks that did not see it throw Error.
///
/// Collective over `group`. `rows` and `context` (apart from its place and log) are equal on all its ranks.
/// Only the leader uses `observer`.
GroupCounts run_group(Engine& engine, comm::Communicator& group, std::span<const manifest::ManifestRow> rows,
                      const RunContext& context, ItemObserver& observer, TeamLetters& teams);

/// Runs the engine for an order, on a rank that does not lead the item. An item that fails counts as
/// finished: its leader records the failure.
RunEnd take_part(Engine& engine, const Order& order, std::span<const manifest::ManifestRow> rows,
                 const RunContext& context, ItemObserver& observer);

}  // namespace wan::batch
