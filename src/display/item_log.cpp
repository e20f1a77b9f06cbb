#include "display/item_log.h"

#include "core/strings.h"
#include "display/progress.h"

namespace wan::display {

void ItemLog::on_item_start(const batch::ItemStart& start) {
  log_.detail("{}: begun, row {} of {}", start.request.id, start.row + 1, start.rows);
}

void ItemLog::on_phase(const PhaseEvent& event) {
  if (event.phase != "lora") return;
  log_.detail("weights with other LoRAs in {:.1f} s, {:.2f} GB of them on rank {}", event.wall_s,
              static_cast<double>(event.merged_bytes) / 1e9, event.world_rank);
}

void ItemLog::on_item_end(const batch::ItemOutcome& outcome) {
  if (outcome.status != batch::ItemStatus::done && outcome.status != batch::ItemStatus::drafted) return;
  log_.detail("{}: {}, {} frames of {}*{} in {}", outcome.id, batch::to_string(outcome.status),
              outcome.frames, outcome.size.width, outcome.size.height, format_duration(outcome.seconds));
}

}  // namespace wan::display
