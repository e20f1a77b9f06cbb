#pragma once

#include <string>

#include "batch/item_in_hand.h"
#include "core/clock.h"

namespace wan::batch {

/// Saves the state of an item between its steps.
class StateSaver {
 public:
  /// `context` must outlive the saver.
  explicit StateSaver(const RunContext& context) : context_(context) {}

  /// Whether a state is to be saved now: an interval has passed since the last one. The interval begins with
  /// the first call of begin_interval(). After the last step a state is due earlier, unless the writers save
  /// it.
  bool is_due(int steps_done, int step_count) const;
  void begin_interval() { since_save_ = Stopwatch(); }

  /// Publishes the state that the engine has written after `steps_done` steps. Throws Error, and StorageError
  /// if the storage is at fault.
  void publish(const ItemInHand& item, int steps_done, const std::string& token);

  /// Steps after which a state was last published; 0 if none was.
  int steps_saved() const { return steps_saved_; }

 private:
  const RunContext& context_;
  Stopwatch since_save_;
  int steps_saved_ = 0;
};

}  // namespace wan::batch
