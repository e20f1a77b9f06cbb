#include "store/status_work.h"

#include <algorithm>

namespace wan::store {

ListedItems::ListedItems(const std::vector<BatchRecord>& records) {
  for (const BatchRecord& record : records) {
    if (record.items.empty()) nameless_rows_ += record.rows;
    for (const BatchItem& item : record.items) items_[item.id] = item.work;
  }
}

ItemWeights::ItemWeights(const ListedItems& listed, const std::map<std::string, FinishedItem>& done)
    : listed_(listed) {
  ItemWork seconds{.steps = 0, .rest = 0};
  ItemWork work{.steps = 0, .rest = 0};
  for (const auto& [id, item] : done) {
    const auto found = listed.items().find(id);
    if (found == listed.items().end() || item.steps_s <= 0) continue;
    seconds += {.steps = item.steps_s, .rest = item.time.end_s - item.time.begin_s - item.steps_s};
    work += found->second;
  }
  if (work.steps > 0) s_per_unit_.steps = seconds.steps / work.steps;
  if (work.rest > 0) s_per_unit_.rest = std::max(seconds.rest, 0.0) / work.rest;
}

double ItemWeights::of_steps(const std::string& id) const {
  if (!listed_.is_complete()) return 1;
  const auto found = listed_.items().find(id);
  return found != listed_.items().end() ? s_per_unit_.steps * found->second.steps : 0;
}

double ItemWeights::of(const std::string& id) const {
  const auto found = listed_.items().find(id);
  if (!listed_.is_complete() || found == listed_.items().end()) return of_steps(id);
  return of_steps(id) + s_per_unit_.rest * found->second.rest;
}

double rate_in(const std::map<std::string, FinishedItem>& done, const ItemWeights& weights, double from_s,
               double to_s) {
  std::vector<WorkTime> times;
  double weight = 0;
  for (const auto& [id, item] : done) {
    const double own = weights.of(id);
    if (own <= 0) continue;
    times.push_back(item.time);
    if (item.time.end_s > from_s && item.time.end_s <= to_s) weight += own;
  }
  const double worked_s = covered_s(std::move(times), from_s, to_s);
  return worked_s > 0 ? weight / worked_s : 0;
}

double rate_of_steps(const std::vector<WorkerStatus>& workers, const ItemWeights& weights) {
  double rate = 0;
  for (const WorkerStatus& worker : workers) {
    if (worker.is_alive && worker.step_s > 0 && worker.steps > 0)
      rate += weights.of_steps(worker.id) / (worker.step_s * worker.steps);
  }
  return rate;
}

}  // namespace wan::store
