#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "batch/item.h"
#include "batch/item_deaths.h"
#include "store/claims.h"
#include "store/item_states.h"

namespace wan::batch {

/// A row that a group has claimed and is to make.
struct ClaimedRow {
  const manifest::ManifestRow& row;
  store::Claim claim;
  ItemState state;                 ///< as the folder told after the claim
  std::vector<Death> deaths = {};  ///< of the program while it made this row
};

/// The rows of a manifest that one group has not yet seen to be settled. For the group's leader.
class ItemQueue {
 public:
  /// All must outlive the queue.
  ItemQueue(std::span<const manifest::ManifestRow> rows, const RunContext& context, const Task& task,
            store::ClaimBoard& claims);

  /// Claims the next row that needs doing; rows with which the program has ended twice come last, and only in
  /// the first group of a run, so that no two of them are made at once. Waits while it is not known of other
  /// owners whether they are alive. Nothing if every row is settled or in the hands of an owner that is
  /// alive, or if `is_stopping`, which is asked before each row, says so.
  std::optional<ClaimedRow> next(const std::function<bool()>& is_stopping);

  /// Rows whose ids belong to another job, which makes or has made them with other values, since the last
  /// call. They are settled for this run, as failed, without a record: the items' names are that job's.
  std::vector<ItemOutcome> take_conflicts() { return std::exchange(conflicts_, {}); }

  /// Rows that are known to be settled or have been given out by next().
  std::int64_t seen() const { return std::ssize(rows_) - std::ssize(queue_) - std::ssize(last_); }

  /// What a last look at all rows will take in seconds, by what the first one took.
  double closing_s() const;

  /// What the rows that seen() does not count ask for.
  store::WorkLeft left() const;

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
    bool comes_last = false;    ///< it is to wait for all others
  };

  std::optional<ClaimedRow> next_of(std::deque<std::size_t>& queue, const std::function<bool()>& is_stopping);
  Attempt try_row(const manifest::ManifestRow& row);
  std::vector<Death> deaths_of(const manifest::ManifestRow& row, const store::Claim& claim) const;
  bool is_made_otherwise(const ItemState& state) const;
  Attempt give_up(const manifest::ManifestRow& row, const std::string& reason);
  bool release_of_dead(const std::string& id);
  void clear_after_dead(const store::Claim& claim) const;

  std::span<const manifest::ManifestRow> rows_;
  const RunContext& context_;
  const Task& task_;
  store::ClaimBoard& claims_;
  store::ItemStates states_;
  ItemDeaths deaths_;
  std::deque<std::size_t> queue_;  ///< rows not known to be settled
  std::deque<std::size_t> last_;   ///< of these, those with which the program has ended twice
  double settled_look_s_ = 0;      ///< that looking at settled rows has taken
  std::int64_t settled_ = 0;
  bool is_last_round_ = false;           ///< all rows are tried that are not among the last
  std::vector<std::string> still_held_;  ///< settled rows whose claim may be a dead owner's
  std::vector<ItemOutcome> conflicts_;
};

}  // namespace wan::batch
