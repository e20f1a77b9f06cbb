#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "batch/row_claimer.h"

namespace wan::batch {

/// The rows of a manifest that one group has not yet seen to be settled. For the group's leader.
class ItemQueue {
 public:
  /// All must outlive the queue.
  ItemQueue(std::span<const manifest::ManifestRow> rows, const RunContext& context, const Task& task,
            store::Claims& claims);

  /// Claims the next row that needs doing. Rows with which the program has ended twice come last, and only in
  /// the first group of a run, so that no two of them are made at once. Waits while nobody knows whether
  /// other owners are alive. Returns nothing if every row is settled or held by a living owner, or if
  /// `is_stopping` returns true; the queue calls it before each row.
  ///
  /// Rows with the LoRAs of the row before come first, in the manifest's order. When there is none any more,
  /// the set follows that most open rows ask for, among those who make them. With `keeps_loras` no row of
  /// another set is claimed, and nothing is waited for.
  std::optional<ClaimedRow> next(const std::function<bool()>& is_stopping, bool keeps_loras = false);

  /// Rows found since the last call whose ids belong to another job, which makes or has made them with other
  /// values. They have failed for this run, but get no record: the items' names are that job's.
  std::vector<ItemOutcome> take_conflicts() { return std::exchange(conflicts_, {}); }

  /// Rows that are known to be settled or have been given out by next().
  std::int64_t seen() const { return std::ssize(rows_) - std::ssize(queue_) - std::ssize(last_); }

  /// Seconds that a last look at all rows will take, judged by the first look.
  double closing_s() const;

  /// The work of the rows that seen() does not count.
  store::WorkLeft left() const;

  /// At the end: releases the claims of dead owners on settled rows.
  void release_left_over() { claimer_.release_left_over(); }

 private:
  std::optional<ClaimedRow> next_of(std::deque<std::size_t>& queue, const std::function<bool()>& is_stopping,
                                    bool keeps_loras);
  std::optional<std::size_t> take(std::deque<std::size_t>& queue, std::size_t untried, bool keeps_loras);
  int most_wanted_set(std::span<const std::size_t> rows) const;
  RowAttempt try_row(std::size_t index, bool is_last_round);

  std::span<const manifest::ManifestRow> rows_;
  const RunContext& context_;
  RowClaimer claimer_;
  std::deque<std::size_t> queue_;  ///< rows not known to be settled
  std::deque<std::size_t> last_;   ///< rows with which the program has ended twice
  int lora_set_ = 0;               ///< of the rows that come first
  double settled_look_s_ = 0;      ///< seconds that looking at settled rows has taken
  std::int64_t settled_ = 0;       ///< rows found settled by such a look
  std::vector<ItemOutcome> conflicts_;
};

}  // namespace wan::batch
