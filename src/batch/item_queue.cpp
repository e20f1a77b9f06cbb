#include "batch/item_queue.h"

#include <algorithm>
#include <thread>

#include "core/log.h"

namespace wan::batch {

ItemQueue::ItemQueue(std::span<const ManifestRow> rows, const RunContext& context, const Task& task,
                     ClaimBoard& claims)
    : rows_(rows), context_(context), task_(task), claims_(claims), states_(context.folder.states()) {
  for (std::size_t row = 0; row < rows.size(); ++row) queue_.push_back(row);
}

void ItemQueue::clear_away(const std::string& id, const std::string& token) const {
  context_.folder.remove_temporaries(id, token);
  states_.remove_temporary(id, token);
}

/// Claims the row if it still needs doing.
ItemQueue::Attempt ItemQueue::try_row(const ManifestRow& row) {
  // Content is read once per job: each group looks after its share of the rows.
  const bool by_content = row.index % context_.group_count == context_.group_index;
  if (look_up(row, context_, task_, by_content).status != ItemStatus::open) {
    if (std::ranges::binary_search(claims_.held_at_start(), row.id) && !release_of_dead(row.id)) {
      still_held_.push_back(row.id);
    }
    return {.claimed = {}, .is_settled = true};
  }
  ClaimAttempt attempt = claims_.try_claim(row.id);
  if (!attempt.claim) {
    return {.claimed = {}, .is_undecided = attempt.outcome == ClaimAttempt::Outcome::undecided};
  }
  clear_after_dead(*attempt.claim);
  // Its last owner may have finished it between the look and the claim.
  ItemState state = look_up(row, context_, task_, by_content);
  if (state.status != ItemStatus::open) return {.claimed = {}, .is_settled = true};
  return {.claimed = ClaimedRow{.row = row, .claim = std::move(*attempt.claim), .state = std::move(state)}};
}

/// What the owners before this one left of an item under hidden names.
void ItemQueue::clear_after_dead(const Claim& claim) const {
  for (const std::string& token : claim.dead_tokens()) {
    clear_away(claim.id(), token);
    if (context_.log != nullptr) context_.log->detail("{}: taken over from an owner that died", claim.id());
  }
}

/// An owner that died between an item's last file and the release leaves a claim that nobody else looks at.
/// False if it is not known yet whether the owner is alive.
bool ItemQueue::release_of_dead(const std::string& id) {
  const ClaimAttempt attempt = claims_.try_claim(id);
  if (attempt.claim) clear_after_dead(*attempt.claim);
  return attempt.outcome != ClaimAttempt::Outcome::undecided;
}

WorkLeft ItemQueue::left() const {
  WorkLeft left;
  for (const std::size_t row : queue_) left.add(context_.work_of(row));
  return left;
}

void ItemQueue::release_left_over() {
  for (const std::string& id : still_held_) release_of_dead(id);
}

std::optional<ClaimedRow> ItemQueue::next(const std::function<bool()>& is_stopping) {
  std::size_t in_vain = 0;  // rows tried since the last one that was settled
  bool some_undecided = false;
  while (!queue_.empty()) {
    if (is_stopping()) return std::nullopt;
    if (in_vain == queue_.size()) {
      if (!some_undecided) return std::nullopt;  // every one is in the hands of an owner that is alive
      in_vain = 0;
      some_undecided = false;
      std::this_thread::sleep_for(std::max(context_.timing.heartbeat / 4, std::chrono::milliseconds(1)));
    }
    const std::size_t index = queue_.front();
    queue_.pop_front();
    Attempt attempt = try_row(rows_[index]);
    if (attempt.claimed) return std::move(attempt.claimed);
    if (attempt.is_settled) {
      in_vain = 0;
      continue;
    }
    queue_.push_back(index);
    some_undecided = some_undecided || attempt.is_undecided;
    ++in_vain;
  }
  return std::nullopt;
}

}  // namespace wan::batch
