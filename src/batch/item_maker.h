#pragma once

#include <cstdint>

#include "batch/group_orders.h"
#include "batch/item_control.h"
#include "batch/item_in_hand.h"
#include "batch/item_writers.h"
#include "batch/observer.h"

namespace wan::batch {

/// Has the group make an item, with the help of other groups where they are idle, and again with less memory
/// where that is short. For the group's leader.
class ItemMaker {
 public:
  /// The parts of the leader that making an item needs. All must outlive the maker.
  struct Tools {
    const store::Claims& claims;
    StopControl& stop;
    TeamLetters& teams;
    ItemObserver& observer;
    ItemWriters& writers;
  };
  ItemMaker(Engine& engine, GroupOrders& orders, const RunContext& context, Tools tools)
      : engine_(engine), orders_(orders), context_(context), tools_(tools) {}

  /// Leaves the outputs under hidden names, or to the writers. Throws the engine's errors: after an ItemError
  /// the ranks of the group wait for the next order.
  MadeItem make(ItemInHand& item);

 private:
  /// How an item is tried.
  struct Attempt {
    int width = 1;              ///< groups that make the current part
    bool may_be_joined = true;  ///< by other groups
    bool is_leaner = false;     ///< the group has been told to need less memory
  };

  MadeItem make_once(ItemInHand& item, Attempt& attempt);
  RequestReport make_part(ItemInHand& item, const Order& order, const OutputPaths& outputs,
                          ItemControl& control);
  bool change_for_less_memory(const ItemInHand& item, Attempt& attempt, const MemoryError& shortage);
  Order first_order(const ItemInHand& item) const;
  OutputPaths outputs_of(const ItemInHand& item) const;
  const std::string& token() const { return tools_.claims.owner().token; }

  Engine& engine_;
  GroupOrders& orders_;
  const RunContext& context_;
  Tools tools_;
  double lora_s_ = 0;  ///< that the last change of LoRAs took: groups that join may have to make it
};

}  // namespace wan::batch
