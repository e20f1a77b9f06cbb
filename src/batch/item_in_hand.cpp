#include "batch/item_in_hand.h"

#include "store/abandoned.h"

namespace wan::batch {

void ItemCost::begin_part(int ranks) {
  part_watch_ = Stopwatch();
  part_ranks_ = ranks;
}

void ItemCost::end_part() {
  rank_seconds_ = rank_seconds();
  part_watch_ = Stopwatch();
  part_ranks_ = 0;
}

void ItemCost::end_waiting() {
  if (wait_watch_) waited_s_ += wait_watch_->elapsed_s();
  wait_watch_.reset();
}

void ItemCost::begin_again() {
  watch_ = Stopwatch();
  waited_s_ = 0;
  rank_seconds_ = 0;
  energy_j = 0;
}

std::vector<int> ItemInHand::resumed_at() const {
  if (!before) return {};
  std::vector<int> steps = before->resumed_at;
  steps.push_back(before->steps_done);
  return steps;
}

namespace {

/// The state of the item to go on from; nothing if there is none, or none that counts.
std::optional<store::SavedState> usable_state(const ItemInHand& item, const RunContext& context) {
  auto saved = store::SavedStates(context.folder.states()).find(item.row.id, item.parameters, true);
  if (!saved || (!context.results.resume && !context.is_of_this_job(saved->run))) return std::nullopt;
  if (!saved->differs.empty()) {
    context.log->warn("{}: the state after step {} is not used, because it belongs to another request: {}",
                      item.row.id, saved->steps_done, saved->differs);
    return std::nullopt;
  }
  return saved;
}

}  // namespace

ItemInHand take_in_hand(ClaimedRow claimed, const RunContext& context, const Task& task, int ranks) {
  const manifest::ManifestRow& row = claimed.row;
  const FoundItem& found = claimed.found;
  ItemInHand item{.row = row,
                  .row_index = claimed.row_index,
                  .claim = std::move(claimed.claim),
                  .parameters = {},
                  .origin = context.origin,
                  .deaths = std::move(claimed.deaths),
                  .before = {}};
  item.origin.line = row.line;
  item.origin.started = store::utc_now();
  item.origin.ranks = ranks;
  item.parameters.request.id = row.id;
  if (row.error) return item;
  if (const LoraRecord* loras = context.requests.loras_of(row)) {
    item.origin.lora_files = loras->files;
    item.origin.command.insert(item.origin.command.end(), loras->options.begin(), loras->options.end());
  }
  item.parameters = wanted_parameters(row, context, task);
  Request& request = item.parameters.request;
  if (item.parameters.automatic_seed && found.kept_seed) request.seed = *found.kept_seed;
  if (!found.made_again.empty()) {
    item.made_again = store::MadeAgain{.because = found.made_again, .earlier = {}};
    item.is_earlier_answer = found.is_earlier_answer;
    if (context.results.resume) context.log->warn("{} is made again: {}", row.id, found.made_again);
  }
  item.before = usable_state(item, context);
  if (!item.before) return item;
  if (item.parameters.automatic_seed) request.seed = item.before->seed;
  context.log->info("{}: going on after step {} of {}", row.id, item.before->steps_done,
                    request.sample_steps);
  return item;
}

void go_back_to_saved(ItemInHand& item, const RunContext& context) {
  item.cost.end_part();
  auto saved = store::SavedStates(context.folder.states()).find(item.row.id, item.parameters, true);
  if (!saved || !saved->differs.empty() || saved->run != context.origin.run) return;
  // The work that was lost since the state was saved counts too.
  saved->seconds = item.seconds();
  saved->gpu_seconds = item.gpu_seconds();
  saved->energy_j = item.energy_j();
  item.cost.begin_again();
  item.before = std::move(saved);
}

}  // namespace wan::batch
