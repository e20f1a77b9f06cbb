#include "batch/leader.h"

#include <algorithm>
#include <new>
#include <thread>
#include <utility>

#include "core/check.h"
#include "store/earlier.h"
#include "wan/storage_error.h"

namespace wan::batch {
namespace {

constexpr std::chrono::milliseconds turn{50};  // the time in which a group finds an item and claims it

/// Throws the ItemError of an item that the engine need not see.
void require_makeable(const ItemInHand& item, const RunContext& context) {
  if (item.row.error) throw ItemError("manifest", *item.row.error);
  if (item.deaths.size() >= deaths_before_failed)
    throw ItemError("crash", describe_deaths(item.deaths, context.results.names));
  if (const auto obstacle = store::find_obstacle(context.folder, item.row.id, context.results.save_latents)) {
    throw ItemError(std::string(store::obstacle_stage), *obstacle);
  }
  if (!context.results.draft.is_wanted()) return;
  if (const auto obstacle = store::find_draft_obstacle(context.folder, item.row.id))
    throw ItemError(std::string(store::obstacle_stage), *obstacle);
}

/// Each group gets its share of the rows, so that none waits while another holds them.
int most_waiting(const RunContext& context, std::size_t rows) {
  const auto groups = static_cast<std::size_t>(context.place.group_count);
  return std::min(context.items_in_turn, static_cast<int>((rows + groups - 1) / groups));
}

}  // namespace

Leader::Leader(Engine& engine, GroupOrders& orders, std::span<const manifest::ManifestRow> rows,
               const RunContext& context, ItemObserver& observer, TeamLetters& teams)
    : engine_(engine),
      task_(engine.task()),
      rows_(rows),
      context_(context),
      observer_(observer),
      teams_(teams),
      orders_(orders),
      claims_(context.folder.claims(), store::ClaimOwner::this_process(context.origin.run, context.job.id),
              context.timing),
      stop_file_(context.folder.path()),
      stop_(StopClock({.is_signalled = context.stop.is_requested,
                       .has_stop_file = [this] { return stop_file_.has_seen_file(); },
                       .elapsed_s = context.stop.elapsed_s,
                       .time_limit_s = context.stop.time_limit_s}),
            teams, observer, *context.log, context.stop.limit_cause),
      queue_(rows, context, engine.task(), claims_),
      waiting_(most_waiting(context, rows.size())),
      publisher_(context, claims_.owner().token),
      writers_(context, {.claims = claims_,
                         .stop = stop_,
                         .observer = observer,
                         .publisher = publisher_,
                         .counts = counts_}),
      maker_(engine, orders, context,
             {.claims = claims_, .stop = stop_, .teams = teams, .observer = observer, .writers = writers_}),
      helper_(engine, orders, rows, context,
              {.claims = claims_, .stop = stop_, .teams = teams, .observer = observer, .writers = writers_}) {
}

GroupCounts Leader::run() {
  let_others_choose_first();
  try {
    make_items();
    queue_.release_left_over();
  } catch (const StorageError& error) {
    end_for_storage(error.what());
  }
  if (const std::string problem = stop_.storage_problem(); !problem.empty()) end_for_storage(problem);
  observer_.on_waiting(WaitFor::other_groups);
  if (helper_.help_until_all_are_idle()) counts_.stopped = true;
  observer_.on_waiting(WaitFor::last_writing);
  writers_.await_all();
  if (const std::string problem = stop_.storage_problem(); !problem.empty()) end_for_storage(problem);
  counts_.stop_cause = stop_.cause();
  return counts_;
}

void Leader::make_items() {
  while (auto item = next_item()) {
    announce(*item);
    make(std::move(*item));
    engine_.begin_idle();
    claims_.show_progress(std::nullopt);
  }
  put_waiting_aside();
}

/// A row, or an item that waits for the second expert. An item that will only wait makes no video yet, so it
/// needs no writer.
std::optional<ItemInHand> Leader::next_item() {
  const auto await_writer = [&] {
    observer_.on_waiting(WaitFor::writer);
    writers_.await_room();
    observer_.on_waiting(WaitFor::row);
  };
  if (!waiting_.is_their_turn()) {
    if (waiting_.take_turns()) {
      observer_.on_waiting(WaitFor::row);
    } else {
      await_writer();
    }
    if (auto claimed = next()) {
      ItemInHand item = take_in_hand(std::move(*claimed), context_, task_, orders_.ranks());
      item.first_expert_only = waiting_.take_turns();
      return item;
    }
    if (waiting_.empty()) return std::nullopt;
  }
  await_writer();
  if (is_stopping()) return std::nullopt;
  return waiting_.take();
}

/// Their steps are saved. A later run goes on with them.
void Leader::put_waiting_aside() {
  while (!waiting_.empty()) put_aside(waiting_.take());
}

store::WorkLeft Leader::work_left() const {
  store::WorkLeft left = queue_.left();
  for (const ItemInHand& item : waiting_.items()) {
    store::ItemWork work = context_.work_of(static_cast<std::size_t>(item.row_index));
    work.steps *=
        1 - static_cast<double>(item.steps_done) / std::max(item.parameters.request.sample_steps, 1);
    left.add(work);
  }
  return left;
}

/// If the program dies from now on, others know which item it was at.
void Leader::announce(const ItemInHand& item) {
  claims_.show_progress(
      store::ClaimProgress{.id = item.row.id,
                           .phase = "",
                           .step = std::max(item.steps_done, item.before ? item.before->steps_done : 0),
                           .steps = item.parameters.request.sample_steps});
  observer_.on_item_start({.request = item.parameters.request,
                           .row = item.row.index,
                           .settled = queue_.seen() - 1 - waiting_.count() - writers_.unsettled(),
                           .rows = std::ssize(rows_),
                           .last_step = context_.results.draft.after_step,
                           .work = context_.work_of(static_cast<std::size_t>(item.row_index)),
                           .left = work_left()});
}

/// Nothing more can be written: the run ends in order, and the items that are not done stay open.
void Leader::end_for_storage(const std::string& problem) {
  counts_.stopped = true;
  if (!counts_.problem.empty()) return;
  counts_.problem = problem;
  teams_.announce_stop();
}

std::optional<ClaimedRow> Leader::next() {
  // Items that wait have the LoRAs that the weights have: they come before a change.
  auto claimed = queue_.next([this] { return is_stopping(); }, /*keeps_loras=*/!waiting_.empty());
  for (const ItemOutcome& conflict : queue_.take_conflicts()) {
    counts_.conflicts.push_back(conflict.row);
    ++counts_.failed;
    observer_.on_item_end(conflict);
  }
  return claimed;
}

bool Leader::is_stopping() {
  writers_.settle();
  stop_.clock().expect_closing(queue_.closing_s());
  if (stop_.stops_before_item()) counts_.stopped = true;
  return counts_.stopped;
}

/// If there are fewer items than groups, each should go to a group whose neighbours stay idle and can join
/// it.
void Leader::let_others_choose_first() const {
  const GroupPlace& place = context_.place;
  if (rows_.size() >= static_cast<std::size_t>(place.group_count)) return;
  std::this_thread::sleep_for(place_in_spread(place.group_index, place.group_count) * turn);
}

std::optional<MadeItem> Leader::make_or_stop(ItemInHand& item) {
  require_makeable(item, context_);
  MadeItem made = maker_.make(item);
  counts_.steps_gained += made.steps_gained;
  if (made.report.end == RunEnd::stopped) {
    stop_.group_has_stopped();
    put_aside(item);
    return std::nullopt;
  }
  return made;
}

void Leader::make(ItemInHand item) {
  // A video may end the program too. Then nobody is to doubt which one it was.
  const bool is_made_alone = !item.deaths.empty();
  if (is_made_alone) writers_.await_all();
  auto made = try_to_make(item);
  if (made && made->report.end == RunEnd::waits) {
    item.steps_done = made->report.steps_done;
    context_.log->detail("{}: waits for the second expert after step {} of {}", item.row.id, item.steps_done,
                         item.parameters.request.sample_steps);
    observer_.on_item_waits(item.row.id);
    waiting_.add(std::move(item));
    return;
  }
  if (made) writers_.take(std::move(item), std::move(*made));
  if (is_made_alone) writers_.await_all();
}

std::optional<MadeItem> Leader::try_to_make(ItemInHand& item) {
  stop_.clock().begin_item();
  stop_.clock().expect_closing(queue_.closing_s());
  try {
    return make_or_stop(item);
  } catch (const StorageError& error) {
    put_aside(item);
    end_for_storage(error.what());
  } catch (const MemoryError& error) {
    // The manifest is not at fault, and the saved steps can be gone on from elsewhere.
    clear_away(context_.folder, item.row.id, token());
    record_failure(item, error);
  } catch (const ItemError& error) {
    clear_away(context_.folder, item.row.id, token());
    record_failure(item, manifest::with_place(error, item.row, context_.origin.manifest));
    // An error in the steps would come again. After an error behind the steps, an item goes on from there.
    if (error.stage() == "denoise" && item.claim.is_held()) {
      store::SavedStates(context_.folder.states()).remove(item.row.id);
    }
  } catch (const std::bad_alloc&) {
    if (!orders_.do_others_wait()) throw;  // the others are in the engine's collectives
    clear_away(context_.folder, item.row.id, token());
    record_failure(item,
                   MemoryError("memory", "the host refused memory; use a smaller size or fewer frames"));
  } catch (const std::exception& error) {
    // The run ends here, and the claim with it. Nobody would look for the hidden files later.
    clear_away_at_end(item);
    note_end_of_run(item.row, token(), error.what(), context_, task_);
    throw;
  }
  return std::nullopt;
}

void Leader::clear_away_at_end(const ItemInHand& item) const {
  try {
    clear_away(context_.folder, item.row.id, token());
  } catch (const Error& error) {
    context_.log->warn("{}", error.what());
  }
}

void Leader::put_aside(const ItemInHand& item) {
  clear_away_at_end(item);
  counts_.stopped = true;
  ItemOutcome outcome;  // a later run goes on with the item
  outcome.id = item.row.id;
  outcome.of_this_run = true;
  observer_.on_item_end(outcome);
}

void Leader::record_failure(const ItemInHand& item, const ItemError& error) {
  try {
    const ItemOutcome outcome = publisher_.record_failure(item, error);
    ++counts_.failed;
    observer_.on_item_end(outcome);
  } catch (const StorageError& storage) {
    put_aside(item);
    end_for_storage(storage.what());
  }
}

}  // namespace wan::batch
