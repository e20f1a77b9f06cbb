#pragma once

#include <span>

#include "batch/item_control.h"
#include "batch/item_queue.h"
#include "batch/item_results.h"
#include "batch/observer.h"
#include "batch/order.h"
#include "batch/runner.h"
#include "store/item_states.h"

namespace wan::batch {

/// A group's leader at work: claims one item after the other and has its group make it; when none is left,
/// helps other groups of the run until all are idle.
class Leader {
 public:
  Leader(Engine& engine, comm::Communicator& group, std::span<const manifest::ManifestRow> rows,
         const RunContext& context, ItemObserver& observer, TeamBoard& teams);

  GroupCounts run();

  /// Other ranks wait for the next order, not inside the engine.
  bool group_is_waiting() const { return group_is_waiting_; }
  const store::ClaimBoard& claims() const { return tools_.claims; }
  void send(Order order);

 private:
  std::optional<ClaimedRow> next();
  ItemInHand begin(ClaimedRow claimed);
  void let_others_choose_first() const;
  void make(ItemInHand& item);
  RequestReport compute(ItemInHand& item);
  RequestReport compute_once(ItemInHand& item);
  bool change_for_less_memory(ItemInHand& item, const MemoryError& shortage);
  void go_back_to_saved(ItemInHand& item);
  RequestReport compute_part(ItemInHand& item, const Order& order, const OutputPaths& outputs,
                             ItemControl& control);
  void record_failure(const ItemInHand& item, const ItemError& error);
  void help();
  void assist(const Order& order);
  void clear_away(const ItemInHand& item) const;
  void clear_away_at_end(const ItemInHand& item) const;
  void put_aside(const ItemInHand& item);
  void end_for_storage(const std::string& problem);
  bool is_stopping();
  const std::string& token() const { return tools_.claims.owner().token; }

  Engine& engine_;
  comm::Communicator& group_;
  std::span<const manifest::ManifestRow> rows_;
  const RunContext& context_;
  ItemObserver& observer_;
  store::ItemStates states_;
  LeaderTools tools_;
  ItemQueue queue_;
  ItemResults results_;
  GroupCounts counts_;
  bool group_is_waiting_ = true;
};

}  // namespace wan::batch
