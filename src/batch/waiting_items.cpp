#include "batch/waiting_items.h"

#include <utility>

#include "core/check.h"

namespace wan::batch {

void WaitingItems::add(ItemInHand item) {
  item.cost.begin_waiting();
  items_.push_back(std::move(item));
}

ItemInHand WaitingItems::take() {
  WAN_CHECK(!items_.empty(), "no item waits");
  ItemInHand item = std::move(items_.front());
  items_.pop_front();
  has_begun_ = !items_.empty();
  item.cost.end_waiting();
  item.first_expert_only = false;
  return item;
}

}  // namespace wan::batch
