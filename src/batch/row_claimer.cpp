#include "batch/row_claimer.h"

#include <algorithm>
#include <utility>

#include "core/clock.h"
#include "store/holders.h"
#include "store/identity.h"

namespace wan::batch {

using Outcome = RowAttempt::Outcome;

RowClaimer::RowClaimer(const RunContext& context, const Task& task, store::Claims& claims)
    : context_(context), task_(task), claims_(claims), deaths_(context.folder.states()) {}

RowAttempt RowClaimer::try_row(const manifest::ManifestRow& row, bool is_last_round) {
  // Each group reads the files of its own share of the rows, so that a job reads every file once.
  const bool by_content = row.index % context_.place.group_count == context_.place.group_index;
  const Stopwatch watch;
  FoundItem found = look_up(row, context_, task_, by_content);
  if (found.status != ItemStatus::open) {
    const double look_s = watch.elapsed_s();
    if (std::ranges::binary_search(claims_.held_at_start(), row.id) && !release_of_dead(row.id)) {
      still_held_.push_back(row.id);
    }
    return {.outcome = Outcome::settled, .settled_look_s = look_s};
  }
  if (is_made_otherwise(found)) {
    return give_up(row, fmt::format("run {}, which is still at work, has made it with other values ({})",
                                    found.earlier_run, found.made_again));
  }
  const auto mark = [&] {
    return row.error ? std::string() : store::request_mark(wanted_parameters(row, context_, task_));
  };
  store::ClaimAttempt attempt = claims_.try_claim(row.id, mark);
  if (attempt.outcome == store::ClaimAttempt::Outcome::alive && !row.error && !attempt.request.empty() &&
      !store::is_same_request(attempt.request, mark())) {
    return give_up(row, fmt::format("another job ({}) is making it with other values", attempt.holder));
  }
  if (!attempt.claim) {
    const bool is_undecided =
        attempt.outcome == store::ClaimAttempt::Outcome::undecided || may_come_last(row, attempt);
    return {.outcome = is_undecided ? Outcome::undecided : Outcome::held};
  }
  clear_after_dead(*attempt.claim);
  // Its last owner may have finished it between the look and the claim.
  found = look_up(row, context_, task_, by_content);
  if (found.status != ItemStatus::open) return {.outcome = Outcome::settled};
  std::vector<Death> deaths = deaths_of(row, *attempt.claim);
  if (deaths.size() == deaths_before_last && !is_last_round) return {.outcome = Outcome::comes_last};
  return {.outcome = Outcome::claimed,
          .claimed = ClaimedRow{.row = row,
                                .claim = std::move(*attempt.claim),
                                .found = std::move(found),
                                .deaths = std::move(deaths)}};
}

/// The deaths that count against the row. Notes the death of its last owner if there was one.
std::vector<Death> RowClaimer::deaths_of(const manifest::ManifestRow& row, const store::Claim& claim) const {
  if (row.error || (claim.dead_owners().empty() && !deaths_.are_noted(row.id))) return {};
  if (context_.results.retry_failed && context_.job.earlier_runs.empty()) {
    deaths_.clear(row.id);
    return {};
  }
  const store::Parameters wanted = wanted_parameters(row, context_, task_);
  // The last owner looked at those before it when it took over from them.
  if (!claim.dead_owners().empty() && counts_as_death(claim.dead_owners().back(), wanted, context_)) {
    const store::DeadOwner& owner = claim.dead_owners().back();
    deaths_.add(wanted, {.token = owner.token, .who = owner.who, .when = store::utc_now()});
    context_.log->warn("{}: the program ended while it made this item, on {}", row.id, owner.who);
  }
  return deaths_.of(wanted);
}

/// Whether another group holds the row only to find that it comes last. That group gives it back, and the
/// first group, which makes such rows, must not have gone by then. A group that hangs is not waited for.
bool RowClaimer::may_come_last(const manifest::ManifestRow& row, const store::ClaimAttempt& attempt) const {
  return attempt.may_be_given_back && context_.place.group_index == 0 && deaths_.are_noted(row.id) &&
         !claims_.find_silent_partner();
}

/// Whether the item has a record of another request, made by another run that is still at work. The two runs
/// would go on taking the id from each other.
bool RowClaimer::is_made_otherwise(const FoundItem& found) const {
  return !found.earlier_run.empty() && !found.is_earlier_answer && found.earlier_run != context_.origin.run &&
         store::is_run_alive(context_.folder.claims(), found.earlier_run, context_.timing.stale_after);
}

RowAttempt RowClaimer::give_up(const manifest::ManifestRow& row, const std::string& reason) const {
  RowAttempt attempt{.outcome = Outcome::conflict};
  attempt.conflict.id = row.id;
  attempt.conflict.status = ItemStatus::failed;
  attempt.conflict.of_this_run = true;
  attempt.conflict.stage = conflict_stage;
  attempt.conflict.message = fmt::format("{}; give the row another id, or use another {}", reason,
                                         context_.results.names.output_folder);
  context_.log->error("{}: {}", row.id, attempt.conflict.message);
  return attempt;
}

/// Removes the hidden files that the owners before this one left.
void RowClaimer::clear_after_dead(const store::Claim& claim) const {
  for (const std::string& token : claim.dead_tokens()) {
    clear_away(context_.folder, claim.id(), token);
    context_.log->detail("{}: taken over from an owner that died", claim.id());
  }
}

/// An owner that died between an item's last file and the release leaves a claim that nobody else looks at.
/// Returns false if nobody knows yet whether the owner is alive.
bool RowClaimer::release_of_dead(const std::string& id) {
  const store::ClaimAttempt attempt = claims_.try_claim(id);
  if (attempt.claim) clear_after_dead(*attempt.claim);
  return attempt.outcome != store::ClaimAttempt::Outcome::undecided;
}

void RowClaimer::release_left_over() {
  for (const std::string& id : still_held_) release_of_dead(id);
}

}  // namespace wan::batch
