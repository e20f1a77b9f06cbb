#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "batch/claims.h"
#include "batch/item.h"
#include "batch/item_states.h"

namespace wan::batch {

/// A row that a group has claimed and is to make.
struct ClaimedRow {
  const ManifestRow& row;
  Claim claim;
  ItemState state;  ///< as the folder told after the claim
};

/// The rows of a manifest that one group has not yet seen to be settled. For the group's leader.
class ItemQueue {
 public:
  /// All must outlive the queue.
  ItemQueue(std::span<const ManifestRow> rows, const RunContext& context, const Task& task,
            ClaimBoard& claims);

  /// Claims the next row that needs doing. Waits while it is not known of other owners whether they are
  /// alive. Nothing if every row is settled or in the hands of an owner that is alive, or if `is_stopping`,
  /// which is asked before each row, says so.
  std::optional<ClaimedRow> next(const std::function<bool()>& is_stopping);

  /// Rows that are known to be settled or have been given out by next().
  std::int64_t seen() const { return std::ssize(rows_) - std::ssize(queue_); }

  /// What the rows that seen() does not count ask for.
  WorkLeft left() const;

  /// At the end: releases the claims of dead owners on rows that are settled.
  void release_left_over();

  /// Removes what an owner left of an item under hidden names.
  void clear_away(const std::string& id, const std::string& token) const;

 private:
  /// What looking at a row came to.
  struct Attempt {
    std::optional<ClaimedRow> claimed;
    bool is_settled = false;
    bool is_undecided = false;  ///< it is not known whether its owner is alive
  };

  Attempt try_row(const ManifestRow& row);
  bool release_of_dead(const std::string& id);
  void clear_after_dead(const Claim& claim) const;

  std::span<const ManifestRow> rows_;
  const RunContext& context_;
  const Task& task_;
  ClaimBoard& claims_;
  ItemStates states_;
  std::deque<std::size_t> queue_;        ///< rows not known to be settled
  std::vector<std::string> still_held_;  ///< settled rows whose claim may be a dead owner's
};

}  // namespace wan::batch
