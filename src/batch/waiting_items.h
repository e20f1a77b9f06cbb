#pragma once

#include <deque>

#include "batch/item_in_hand.h"

namespace wan::batch {

/// Items that have gone through the first expert and wait for the second, where a group's experts take turns.
/// Each expert is read once for all of them. For the group's leader.
class WaitingItems {
 public:
  /// `most`: items that wait at a time; 0: experts take no turns, and nothing waits.
  explicit WaitingItems(int most) : most_(most) {}

  bool take_turns() const { return most_ > 0; }
  /// Whether the next item is one that waits: their turn has begun and has not ended, or no more may wait.
  bool is_their_turn() const {
    return !items_.empty() && (has_begun_ || static_cast<int>(items_.size()) >= most_);
  }
  bool empty() const { return items_.empty(); }
  int count() const { return static_cast<int>(items_.size()); }
  const std::deque<ItemInHand>& items() const { return items_; }

  void add(ItemInHand item);
  /// The item that has waited longest. Begins their turn, which ends when none is left.
  ItemInHand take();

 private:
  int most_;
  bool has_begun_ = false;
  std::deque<ItemInHand> items_;
};

}  // namespace wan::batch
