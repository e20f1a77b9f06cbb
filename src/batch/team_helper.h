#pragma once

#include <span>

#include "batch/group_orders.h"
#include "batch/item_writers.h"
#include "batch/observer.h"
#include "batch/stop_control.h"
#include "batch/team_letters.h"

namespace wan::batch {

/// Lends a group that has no items left to other groups of the run. For the group's leader.
class TeamHelper {
 public:
  /// The parts of the leader that helping needs. All must outlive the helper.
  struct Tools {
    store::Claims& claims;
    StopControl& stop;
    TeamLetters& teams;
    ItemObserver& observer;
    ItemWriters& writers;
  };
  TeamHelper(Engine& engine, GroupOrders& orders, std::span<const manifest::ManifestRow> rows,
             const RunContext& context, Tools tools)
      : engine_(engine), orders_(orders), rows_(rows), context_(context), tools_(tools) {}

  /// Joins the items that other groups invite this one to, until all groups are idle. Returns whether one of
  /// those items was stopped. Throws Error if another group's leader is silent for too long.
  bool help_until_all_are_idle();

 private:
  RunEnd assist(const Order& order);
  void require_living_leaders();

  Engine& engine_;
  GroupOrders& orders_;
  std::span<const manifest::ManifestRow> rows_;
  const RunContext& context_;
  Tools tools_;
};

}  // namespace wan::batch
