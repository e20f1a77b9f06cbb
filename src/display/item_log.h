#pragma once

#include "batch/observer.h"
#include "core/log.h"

namespace wan::display {

/// Writes into the log when a group begins an item, changes LoRAs for it, and when it is done. The leader
/// itself reports failures.
class ItemLog final : public batch::ItemObserver {
 public:
  /// The log must outlive the observer.
  explicit ItemLog(Log& log) : log_(log) {}

  void on_phase(const PhaseEvent& event) override;
  void on_step(const StepEvent& /*event*/) override {}
  void on_item_start(const batch::ItemStart& start) override;
  void on_item_end(const batch::ItemOutcome& outcome) override;

 private:
  Log& log_;
};

}  // namespace wan::display
