#pragma once

#include "batch/order.h"
#include "comm/communicator.h"

namespace wan::batch {

/// The orders of a leader to the other ranks of its group, and whether those ranks wait for the next one.
class GroupOrders {
 public:
  /// `group` must outlive the orders.
  explicit GroupOrders(comm::Communicator& group) : group_(group) {}

  /// Collective: the others are in await_order(). After Action::run they enter the engine, and wait again
  /// when engine_has_returned().
  void send(Order order) {
    others_wait_ = false;
    broadcast(group_, order);
    others_wait_ = order.action != Order::Action::run;
  }
  /// The engine has returned, or thrown the same ItemError, on every rank.
  void engine_has_returned() { others_wait_ = true; }

  /// False while the others are in the engine's collectives, where no order reaches them.
  bool do_others_wait() const { return others_wait_; }
  int ranks() const { return group_.size(); }

 private:
  comm::Communicator& group_;
  bool others_wait_ = true;
};

}  // namespace wan::batch
