#include "batch/item_queue.h"

#include <algorithm>
#include <thread>

namespace wan::batch {

using Outcome = RowAttempt::Outcome;

ItemQueue::ItemQueue(std::span<const manifest::ManifestRow> rows, const RunContext& context, const Task& task,
                     store::Claims& claims)
    : rows_(rows), context_(context), claimer_(context, task, claims) {
  for (std::size_t row = 0; row < rows.size(); ++row) queue_.push_back(row);
}

/// The rows that this run has made will be looked at too; each takes as long as one that was settled before.
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

std::optional<ClaimedRow> ItemQueue::next(const std::function<bool()>& is_stopping) {
  if (auto row = next_of(queue_, is_stopping)) return row;
  if (context_.place.group_index != 0) return std::nullopt;
  return next_of(last_, is_stopping);
}

RowAttempt ItemQueue::try_row(std::size_t index, bool is_last_round) {
  RowAttempt attempt = claimer_.try_row(rows_[index], is_last_round);
  if (attempt.claimed) attempt.claimed->row_index = static_cast<std::int64_t>(index);
  if (attempt.settled_look_s) {
    settled_look_s_ += *attempt.settled_look_s;
    ++settled_;
  }
  if (attempt.outcome == Outcome::comes_last) last_.push_back(index);
  if (attempt.outcome == Outcome::conflict) {
    attempt.conflict.row = static_cast<std::int64_t>(index);
    conflicts_.push_back(attempt.conflict);
  }
  return attempt;
}

std::optional<ClaimedRow> ItemQueue::next_of(std::deque<std::size_t>& queue,
                                             const std::function<bool()>& is_stopping) {
  std::size_t in_vain = 0;  // rows tried since the last one that was settled
  bool some_undecided = false;
  while (!queue.empty()) {
    if (is_stopping()) return std::nullopt;
    if (in_vain == queue.size()) {
      if (!some_undecided) return std::nullopt;  // living owners hold all of them
      in_vain = 0;
      some_undecided = false;
      std::this_thread::sleep_for(std::max(context_.timing.heartbeat / 4, std::chrono::milliseconds(1)));
    }
    const std::size_t index = queue.front();
    queue.pop_front();
    RowAttempt attempt = try_row(index, &queue == &last_);
    switch (attempt.outcome) {
      case Outcome::claimed:
        return std::move(attempt.claimed);
      case Outcome::settled:
      case Outcome::conflict:
      case Outcome::comes_last:
        in_vain = 0;
        break;
      case Outcome::held:
      case Outcome::undecided:
        queue.push_back(index);
        some_undecided = some_undecided || attempt.outcome == Outcome::undecided;
        ++in_vain;
        break;
    }
  }
  return std::nullopt;
}

}  // namespace wan::batch
