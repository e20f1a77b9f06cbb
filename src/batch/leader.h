#pragma once

#include <optional>
#include <span>
#include <string>

#include "batch/group_orders.h"
#include "batch/item_maker.h"
#include "batch/item_publisher.h"
#include "batch/item_queue.h"
#include "batch/item_writers.h"
#include "batch/runner.h"
#include "batch/stop_control.h"
#include "batch/team_helper.h"
#include "batch/waiting_items.h"
#include "store/stop_file.h"

namespace wan::batch {

/// A group's leader at work: claims one item after the other, has its group make it, and gives it to the
/// writers, which publish the result. When no item is left, it helps other groups of the run until all are
/// idle.
class Leader {
 public:
  /// All must outlive the leader.
  Leader(Engine& engine, GroupOrders& orders, std::span<const manifest::ManifestRow> rows,
         const RunContext& context, ItemObserver& observer, TeamLetters& teams);

  /// Throws errors that are not an item's. GroupOrders then tells whether the group waits for an order.
  GroupCounts run();

  const store::Claims& claims() const { return claims_; }

 private:
  void make_items();
  std::optional<ItemInHand> next_item();
  std::optional<ClaimedRow> next();
  bool is_stopping();
  store::WorkLeft work_left() const;
  void announce(const ItemInHand& item);
  void let_others_choose_first() const;
  void make(ItemInHand item);
  /// The item, if it was made; else it is settled or left.
  std::optional<MadeItem> try_to_make(ItemInHand& item);
  std::optional<MadeItem> make_or_stop(ItemInHand& item);
  void record_failure(const ItemInHand& item, const ItemError& error);
  void clear_away_at_end(const ItemInHand& item) const;
  void put_aside(const ItemInHand& item);
  void put_waiting_aside();
  void end_for_storage(const std::string& problem);
  const std::string& token() const { return claims_.owner().token; }

  Engine& engine_;
  const Task& task_;
  std::span<const manifest::ManifestRow> rows_;
  const RunContext& context_;
  ItemObserver& observer_;
  TeamLetters& teams_;
  GroupOrders& orders_;
  store::Claims claims_;
  store::StopFileWatch stop_file_;
  StopControl stop_;
  ItemQueue queue_;
  WaitingItems waiting_;
  ItemPublisher publisher_;
  GroupCounts counts_;
  ItemWriters writers_;
  ItemMaker maker_;
  TeamHelper helper_;
};

}  // namespace wan::batch
