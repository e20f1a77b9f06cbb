#include "batch/item_log.h"

#include "batch/progress.h"

namespace wan::batch {

void ItemLog::on_item_start(const ItemStart& start) {
  log_.detail("{}: begun, row {} of {}", start.request.id, start.row + 1, start.rows);
}

void ItemLog::on_item_end(const ItemOutcome& outcome) {
  if (outcome.status != ItemStatus::done) return;
  log_.detail("{}: done, {} frames of {}*{} in {}", outcome.id, outcome.frames, outcome.size.width,
              outcome.size.height, format_duration(outcome.seconds));
}

}  // namespace wan::batch
