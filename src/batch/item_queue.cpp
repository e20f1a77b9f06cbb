#include "batch/item_queue.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <thread>

namespace wan::batch {

using Outcome = RowAttempt::Outcome;

ItemQueue::ItemQueue(std::span<const manifest::ManifestRow> rows, const RunContext& context, const Task& task,
                     store::Claims& claims)
    : rows_(rows),
      context_(context),
      claimer_(context, task, claims),
      lora_set_(context.requests.first_lora_set) {
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

std::optional<ClaimedRow> ItemQueue::next(const std::function<bool()>& is_stopping, bool keeps_loras) {
  if (auto row = next_of(queue_, is_stopping, keeps_loras)) return row;
  if (context_.place.group_index != 0) return std::nullopt;
  return next_of(last_, is_stopping, keeps_loras);
}

/// Takes the row to try next out of the queue, among its first `untried`. Nothing if none may be tried.
std::optional<std::size_t> ItemQueue::take(std::deque<std::size_t>& queue, std::size_t untried,
                                           bool keeps_loras) {
  const auto end = queue.begin() + static_cast<std::ptrdiff_t>(untried);
  const auto find = [&] {
    return std::find_if(queue.begin(), end, [&](std::size_t row) {
      return rows_[row].error.has_value() || rows_[row].lora_set == lora_set_;
    });
  };
  auto found = find();
  if (found == end) {
    if (keeps_loras) return std::nullopt;
    lora_set_ = most_wanted_set(std::vector<std::size_t>(queue.begin(), end));
    found = find();
  }
  const std::size_t row = *found;
  queue.erase(found);
  return row;
}

/// The set of which each of those who make its rows, this group among them, would have most.
int ItemQueue::most_wanted_set(std::span<const std::size_t> rows) const {
  struct Count {
    double open = 0;
    double makers = 1;  // an owner of a claim makes one row, or a few
  };
  std::map<int, Count> counts;
  for (const std::size_t index : rows) {
    const manifest::ManifestRow& row = rows_[index];
    Count& count = counts[row.lora_set];
    if (store::plain_file_size(context_.folder.sidecar(row.id))) continue;
    std::error_code error;
    ++(std::filesystem::exists(context_.folder.claims() / (row.id + ".claim"), error) ? count.makers
                                                                                      : count.open);
  }
  const auto share = [](const auto& entry) { return entry.second.open / entry.second.makers; };
  return std::ranges::max_element(counts, {}, share)->first;
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
                                             const std::function<bool()>& is_stopping, bool keeps_loras) {
  std::size_t in_vain = 0;  // rows tried since the last one that was settled
  bool some_undecided = false;
  while (!queue.empty()) {
    if (is_stopping()) return std::nullopt;
    if (in_vain == queue.size()) {
      if (!some_undecided || keeps_loras) return std::nullopt;  // living owners hold all of them
      in_vain = 0;
      some_undecided = false;
      std::this_thread::sleep_for(std::max(context_.timing.heartbeat / 4, std::chrono::milliseconds(1)));
    }
    const auto taken = take(queue, queue.size() - in_vain, keeps_loras);
    if (!taken) return std::nullopt;
    const std::size_t index = *taken;
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
