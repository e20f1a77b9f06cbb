#include "batch/item_queue.h"

#include <algorithm>
#include <thread>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "store/holders.h"
#include "store/identity.h"

namespace wan::batch {

ItemQueue::ItemQueue(std::span<const manifest::ManifestRow> rows, const RunContext& context, const Task& task,
                     store::ClaimBoard& claims)
    : rows_(rows),
      context_(context),
      task_(task),
      claims_(claims),
      states_(context.folder.states()),
      deaths_(context.folder.states()) {
  for (std::size_t row = 0; row < rows.size(); ++row) queue_.push_back(row);
}

void ItemQueue::clear_away(const std::string& id, const std::string& token) const {
  context_.folder.remove_temporaries(id, token);
  states_.remove_temporary(id, token);
}

/// Claims the row if it still needs doing.
ItemQueue::Attempt ItemQueue::try_row(const manifest::ManifestRow& row) {
  // Content is read once per job: each group looks after its share of the rows.
  const bool by_content = row.index % context_.group_count == context_.group_index;
  const Stopwatch watch;
  ItemState state = look_up(row, context_, task_, by_content);
  if (state.status != ItemStatus::open) {
    settled_look_s_ += watch.elapsed_s();
    ++settled_;
    if (std::ranges::binary_search(claims_.held_at_start(), row.id) && !release_of_dead(row.id)) {
      still_held_.push_back(row.id);
    }
    return {.claimed = {}, .is_settled = true};
  }
  if (is_made_otherwise(state)) {
    return give_up(row, fmt::format("run {}, which is still at work, has made it with other values ({})",
                                    state.earlier_run, state.made_again));
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
    return {.claimed = {}, .is_undecided = attempt.outcome == store::ClaimAttempt::Outcome::undecided};
  }
  clear_after_dead(*attempt.claim);
  // Its last owner may have finished it between the look and the claim.
  state = look_up(row, context_, task_, by_content);
  if (state.status != ItemStatus::open) return {.claimed = {}, .is_settled = true};
  std::vector<Death> deaths = deaths_of(row, *attempt.claim);
  if (deaths.size() == deaths_before_last && !is_last_round_) return {.claimed = {}, .comes_last = true};
  return {.claimed = ClaimedRow{.row = row,
                                .claim = std::move(*attempt.claim),
                                .state = std::move(state),
                                .deaths = std::move(deaths)}};
}

/// Looks whether the owners before this one died of the row, and notes it.
std::vector<Death> ItemQueue::deaths_of(const manifest::ManifestRow& row, const store::Claim& claim) const {
  if (row.error || (claim.dead_owners().empty() && !deaths_.are_noted(row.id))) return {};
  if (context_.retry_failed && context_.runs_of_job.empty()) {
    deaths_.clear(row.id);
    return {};
  }
  const store::Parameters wanted = wanted_parameters(row, context_, task_);
  // Those before the last one were looked at when it took over from them.
  if (!claim.dead_owners().empty() && counts_as_death(claim.dead_owners().back(), wanted, context_)) {
    const store::DeadOwner& owner = claim.dead_owners().back();
    deaths_.add(wanted, {.token = owner.token, .who = owner.who, .when = store::utc_now()});
    if (context_.log != nullptr) {
      context_.log->warn("{}: the program ended while it made this item, on {}", row.id, owner.who);
    }
  }
  return deaths_.of(wanted);
}

/// Whether the item's record is of another request, by another run that is still at work: the two would go on
/// taking the id from each other.
bool ItemQueue::is_made_otherwise(const ItemState& state) const {
  return !state.earlier_run.empty() && !state.is_earlier_answer && state.earlier_run != context_.origin.run &&
         store::is_run_alive(context_.folder.claims(), state.earlier_run, context_.timing.stale_after);
}

ItemQueue::Attempt ItemQueue::give_up(const manifest::ManifestRow& row, const std::string& reason) {
  ItemOutcome outcome;
  outcome.id = row.id;
  outcome.status = ItemStatus::failed;
  outcome.of_this_run = true;
  outcome.stage = conflict_stage;
  outcome.message = fmt::format("{}; give the row another id, or use another --output-dir", reason);
  if (context_.log != nullptr) context_.log->error("{}: {}", row.id, outcome.message);
  outcome.row = &row - rows_.data();
  conflicts_.push_back(std::move(outcome));
  return {.claimed = {}, .is_settled = true};
}

/// What the owners before this one left of an item under hidden names.
void ItemQueue::clear_after_dead(const store::Claim& claim) const {
  for (const std::string& token : claim.dead_tokens()) {
    clear_away(claim.id(), token);
    if (context_.log != nullptr) context_.log->detail("{}: taken over from an owner that died", claim.id());
  }
}

/// An owner that died between an item's last file and the release leaves a claim that nobody else looks at.
/// False if it is not known yet whether the owner is alive.
bool ItemQueue::release_of_dead(const std::string& id) {
  const store::ClaimAttempt attempt = claims_.try_claim(id);
  if (attempt.claim) clear_after_dead(*attempt.claim);
  return attempt.outcome != store::ClaimAttempt::Outcome::undecided;
}

/// Rows that this run has made will be looked at too, each for as long as those that were settled before.
double ItemQueue::closing_s() const {
  if (settled_ == 0) return 0;
  return settled_look_s_ * static_cast<double>(seen()) / static_cast<double>(settled_);
}

store::WorkLeft ItemQueue::left() const {
  store::WorkLeft left;
  for (const std::size_t row : queue_) left.add(context_.work_of(row));
  for (const std::size_t row : last_) left.add(context_.work_of(row));
  return left;
}

void ItemQueue::release_left_over() {
  for (const std::string& id : still_held_) release_of_dead(id);
}

std::optional<ClaimedRow> ItemQueue::next(const std::function<bool()>& is_stopping) {
  is_last_round_ = false;
  if (auto row = next_of(queue_, is_stopping)) return row;
  if (context_.group_index != 0) return std::nullopt;
  is_last_round_ = true;
  return next_of(last_, is_stopping);
}

std::optional<ClaimedRow> ItemQueue::next_of(std::deque<std::size_t>& queue,
                                             const std::function<bool()>& is_stopping) {
  std::size_t in_vain = 0;  // rows tried since the last one that was settled
  bool some_undecided = false;
  while (!queue.empty()) {
    if (is_stopping()) return std::nullopt;
    if (in_vain == queue.size()) {
      if (!some_undecided) return std::nullopt;  // every one is in the hands of an owner that is alive
      in_vain = 0;
      some_undecided = false;
      std::this_thread::sleep_for(std::max(context_.timing.heartbeat / 4, std::chrono::milliseconds(1)));
    }
    const std::size_t index = queue.front();
    queue.pop_front();
    Attempt attempt = try_row(rows_[index]);
    if (attempt.claimed) return std::move(attempt.claimed);
    if (attempt.comes_last) last_.push_back(index);
    if (attempt.is_settled || attempt.comes_last) {
      in_vain = 0;
      continue;
    }
    queue.push_back(index);
    some_undecided = some_undecided || attempt.is_undecided;
    ++in_vain;
  }
  return std::nullopt;
}

}  // namespace wan::batch
