#pragma once

#include <optional>
#include <string>
#include <vector>

#include "batch/item.h"
#include "batch/item_deaths.h"
#include "store/claims.h"

namespace wan::batch {

/// A row that a group has claimed and will make.
struct ClaimedRow {
  const manifest::ManifestRow& row;
  std::int64_t row_index = 0;  ///< among the run's rows
  store::Claim claim;
  FoundItem found;                 ///< read from the folder after the claim
  std::vector<Death> deaths = {};  ///< of the program while it made this row
};

/// The result of trying to claim a row.
struct RowAttempt {
  enum class Outcome {
    claimed,     ///< this group holds the row now
    settled,     ///< somebody has made it, or has failed to
    conflict,    ///< another job makes this id with other values
    held,        ///< its owner is alive
    undecided,   ///< nobody knows yet whether its owner is alive
    comes_last,  ///< the program ended with it twice: it waits until all other rows are settled
  };
  Outcome outcome = Outcome::held;
  std::optional<ClaimedRow> claimed = {};     ///< with Outcome::claimed
  ItemOutcome conflict = {};                  ///< with Outcome::conflict
  std::optional<double> settled_look_s = {};  ///< seconds of the look, if it found the row settled
};

/// Looks rows up and claims those that need doing. For the group's leader.
class RowClaimer {
 public:
  /// All must outlive the claimer.
  RowClaimer(const RunContext& context, const Task& task, store::Claims& claims);

  /// Claims the row if it still needs doing. `is_last_round`: all other rows have been tried, so that a row
  /// with which the program has ended twice is claimed too.
  RowAttempt try_row(const manifest::ManifestRow& row, bool is_last_round);

  /// At the end: releases the claims of dead owners on settled rows.
  void release_left_over();

 private:
  std::vector<Death> deaths_of(const manifest::ManifestRow& row, const store::Claim& claim) const;
  bool is_made_otherwise(const FoundItem& found) const;
  bool may_come_last(const manifest::ManifestRow& row, const store::ClaimAttempt& attempt) const;
  RowAttempt give_up(const manifest::ManifestRow& row, const std::string& reason) const;
  bool release_of_dead(const std::string& id);
  void clear_after_dead(const store::Claim& claim) const;

  const RunContext& context_;
  const Task& task_;
  store::Claims& claims_;
  ItemDeaths deaths_;
  std::vector<std::string> still_held_;  ///< settled rows whose claim may be a dead owner's
};

}  // namespace wan::batch
