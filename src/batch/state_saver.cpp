#include "batch/state_saver.h"

#include <algorithm>

#include "core/check.h"

namespace wan::batch {
namespace {

/// Before decoding, a state is saved at once if less than an interval's work would be lost, but at least this
/// much. Making less than this again costs less than another file. A writer saves every last state, while the
/// group goes on.
constexpr double least_worth_saving_s = 5;

}  // namespace

bool StateSaver::is_due(int steps_done, int step_count) const {
  if (steps_done == 0) return false;
  const double interval_s = context_.checkpoint_interval_s;
  const bool is_last_chance = steps_done == step_count && context_.writers == 0;
  const double due_s = is_last_chance ? std::min(interval_s, least_worth_saving_s) : interval_s;
  return since_save_.elapsed_s() >= due_s;
}

void StateSaver::publish(const ItemInHand& item, int steps_done, const std::string& token) {
  // A process that took the item over has states of its own.
  if (!item.claim.is_held()) fail("another process took the item over");
  store::SavedStates(context_.folder.states())
      .publish(item.row.id, token,
               {.parameters = item.parameters,
                .steps_done = steps_done,
                .seconds = item.seconds(),
                .gpu_seconds = context_.place.on_gpu ? item.gpu_seconds() : 0,
                .energy_j = item.energy_j(),
                .resumed_at = item.resumed_at(),
                .origin = item.origin});
  steps_saved_ = steps_done;
  begin_interval();
}

}  // namespace wan::batch
