#include "batch/item_writers.h"

#include <chrono>
#include <memory>
#include <utility>

#include "batch/runner.h"

namespace wan::batch {
namespace {

constexpr std::chrono::milliseconds look_interval{20};

}  // namespace

ItemWriters::ItemWriters(const RunContext& context, Tools tools)
    : context_(context), tools_(tools), pool_(context.writers) {}

void ItemWriters::take(ItemInHand item, MadeItem made) {
  if (are_in_background()) tools_.observer.on_writing(item.row.id);
  const auto decode = item.cost.phase_s.find("decode");
  const double decode_s = decode == item.cost.phase_s.end() ? 0 : decode->second;
  pool_.add(std::make_unique<ItemWriting>(
      std::move(item), std::move(made),
      ItemWriting::Tools{
          .context = context_, .publisher = tools_.publisher, .token = tools_.claims.owner().token},
      [this, decode_s](const WritingEnd& end) { this->end(end, decode_s); }));
  if (are_in_background()) tools_.claims.show_writing(pool_.unsettled());
  settle();
}

void ItemWriters::end(const WritingEnd& end, double decode_s) {
  switch (end.outcome.status) {
    case ItemStatus::done:
      ++tools_.counts.made;
      tools_.stop.clock().took_ending(decode_s + end.seconds);
      break;
    case ItemStatus::drafted:
      tools_.stop.clock().took_ending(decode_s + end.seconds);
      break;
    case ItemStatus::failed:
      ++tools_.counts.failed;
      break;
    case ItemStatus::open:
      tools_.counts.stopped = true;
      break;
  }
  if (!end.storage_problem.empty()) tools_.stop.note_storage_problem(end.storage_problem);
  tools_.observer.on_item_end(end.outcome);
}

void ItemWriters::settle() {
  const int before = pool_.unsettled();
  pool_.settle();
  if (const int now = pool_.unsettled(); now != before && are_in_background())
    tools_.claims.show_writing(now);
}

void ItemWriters::await_room() {
  settle();
  while (!pool_.has_room() && !tools_.stop.stops_before_item()) {
    pool_.wait(look_interval);
    settle();
  }
}

void ItemWriters::await_all() {
  settle();
  while (pool_.unsettled() > 0) {
    if (tools_.stop.leaves_now()) pool_.give_up();
    pool_.wait(look_interval);
    settle();
  }
}

}  // namespace wan::batch
