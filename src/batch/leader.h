#pragma once

#include <deque>
#include <optional>
#include <span>

#include "batch/item_control.h"
#include "batch/item_states.h"
#include "batch/observer.h"
#include "batch/order.h"
#include "batch/runner.h"

namespace wan::batch {

/// A group's leader at work: claims one item after the other and has its group make it; when none is left,
/// helps other groups of the run until all are idle.
class Leader {
 public:
  Leader(Engine& engine, comm::Communicator& group, std::span<const ManifestRow> rows,
         const RunContext& context, ItemObserver& observer, TeamBoard& teams);

  GroupCounts run();

  /// Other ranks wait for the next order, not inside the engine.
  bool group_is_waiting() const { return group_is_waiting_; }
  void send(Order order);

 private:
  std::optional<ItemInHand> next();
  std::optional<Claim> try_row(const ManifestRow& row, bool& is_settled, bool& is_undecided,
                               ItemState& state);
  bool release_of_dead(const std::string& id);
  void clear_after_dead(const Claim& claim) const;
  ItemInHand begin(const ManifestRow& row, Claim claim, const ItemState& state);
  void let_others_choose_first() const;
  void make(ItemInHand& item);
  RequestReport compute(ItemInHand& item);
  RequestReport compute_once(ItemInHand& item);
  bool change_for_less_memory(ItemInHand& item, const MemoryError& shortage);
  void go_back_to_saved(ItemInHand& item);
  RequestReport compute_part(ItemInHand& item, const Order& order, const OutputPaths& outputs,
                             ItemControl& control);
  void publish(const ItemInHand& item, const RequestReport& report);
  void publish_sidecar(const ItemInHand& item, const Sidecar& sidecar) const;
  void put_aside(const ItemInHand& item);
  void record_failure(const ItemInHand& item, const ItemError& error);
  void help();
  void assist(const Order& order);
  void clear_away(const std::string& id, const std::string& token) const;
  bool is_stopping();
  const std::string& token() const { return tools_.claims.owner().token; }

  Engine& engine_;
  comm::Communicator& group_;
  std::span<const ManifestRow> rows_;
  const RunContext& context_;
  ItemObserver& observer_;
  ItemStates states_;
  LeaderTools tools_;
  std::deque<std::size_t> queue_;        ///< rows not known to be settled
  std::vector<std::string> still_held_;  ///< settled rows whose claim may be a dead owner's
  GroupCounts counts_;
  bool group_is_waiting_ = true;
};

}  // namespace wan::batch
