#include "batch/leader.h"

#include <algorithm>
#include <thread>

#include "batch/energy_meter.h"
#include "core/check.h"
#include "core/log.h"
#include "core/strings.h"
#include "store/earlier.h"
#include "wan/storage_error.h"

namespace wan::batch {
namespace {

constexpr std::chrono::milliseconds idle_nap{5};
constexpr std::chrono::milliseconds turn{50};  // in which a group looks for an item and claims it

}  // namespace

Leader::Leader(Engine& engine, comm::Communicator& group, std::span<const manifest::ManifestRow> rows,
               const RunContext& context, ItemObserver& observer, TeamBoard& teams)
    : engine_(engine),
      group_(group),
      rows_(rows),
      context_(context),
      observer_(observer),
      states_(context.folder.states()),
      tools_{.claims = store::ClaimBoard(context.folder.claims(),
                                         store::ClaimOwner::this_process(context.origin.run, context.job),
                                         context.timing),
             .clock = StopClock({.is_signalled = context.stop_requested,
                                 .elapsed_s = context.elapsed_s,
                                 .time_limit_s = context.time_limit_s}),
             .teams = teams,
             .observer = observer,
             .log = context.log},
      queue_(rows, context, engine.task(), tools_.claims),
      results_(context, observer, tools_.claims.owner().token) {}

GroupCounts Leader::run() {
  let_others_choose_first();
  try {
    while (auto claimed = next()) {
      ItemInHand item = begin(std::move(*claimed));
      // From now on it is known what ended the program, should it end.
      tools_.claims.show_progress(store::ClaimProgress{.id = item.row.id,
                                                       .phase = "",
                                                       .step = item.before ? item.before->steps_done : 0,
                                                       .steps = item.parameters.request.sample_steps});
      observer_.on_item_start({.request = item.parameters.request,
                               .row = item.row.index,
                               .settled = queue_.seen() - 1,
                               .rows = std::ssize(rows_),
                               .work = context_.work_of(static_cast<std::size_t>(&item.row - rows_.data())),
                               .left = queue_.left()});
      make(item);
      tools_.claims.show_progress(std::nullopt);
    }
    queue_.release_left_over();
  } catch (const StorageError& error) {
    end_for_storage(error.what());
  }
  if (tools_.has_storage_problem()) end_for_storage(tools_.storage_problem);
  help();
  return counts_;
}

/// Nothing more can be written: the run ends in order, and what is not done stays open.
void Leader::end_for_storage(const std::string& problem) {
  counts_.stopped = true;
  if (!counts_.problem.empty()) return;
  counts_.problem = problem;
  tools_.teams.announce_stop();
}

std::optional<ClaimedRow> Leader::next() {
  auto claimed = queue_.next([this] {
    if (!is_stopping()) return false;
    counts_.stopped = true;
    return true;
  });
  for (const ItemOutcome& conflict : queue_.take_conflicts()) {
    counts_.conflicts.push_back(conflict.row);
    ++counts_.failed;
    observer_.on_item_end(conflict);
  }
  return claimed;
}

void Leader::send(Order order) {
  group_is_waiting_ = false;
  broadcast(group_, order);
  group_is_waiting_ = order.action != Order::Action::run;
}

/// Of fewer items than groups each should go to a group whose neighbours stay idle and can join it.
void Leader::let_others_choose_first() const {
  if (rows_.size() >= static_cast<std::size_t>(context_.group_count)) return;
  std::this_thread::sleep_for(tools_.teams.place_in_spread() * turn);
}

bool Leader::is_stopping() {
  tools_.teams.read_letters();
  if (tools_.teams.has_heard_stop()) tools_.clock.ask();
  if (tools_.clock.is_asked()) {
    tools_.teams.announce_stop();
    return true;
  }
  tools_.clock.expect_closing(queue_.closing_s());
  return counts_.stopped || tools_.has_storage_problem() || tools_.clock.is_too_late_for_item();
}

ItemInHand Leader::begin(ClaimedRow claimed) {
  const manifest::ManifestRow& row = claimed.row;
  const ItemState& state = claimed.state;
  ItemInHand item{.row = row,
                  .claim = std::move(claimed.claim),
                  .parameters = {},
                  .origin = context_.origin,
                  .deaths = std::move(claimed.deaths),
                  .before = {}};
  item.origin.line = row.line;
  item.origin.started = store::utc_now();
  item.origin.ranks = group_.size();
  item.parameters.request.id = row.id;
  if (row.error) return item;
  item.parameters = wanted_parameters(row, context_, engine_.task());
  Request& request = item.parameters.request;
  if (item.parameters.automatic_seed && state.kept_seed) request.seed = *state.kept_seed;
  if (!state.made_again.empty()) {
    item.made_again = store::MadeAgain{.because = state.made_again, .earlier = {}};
    item.is_earlier_answer = state.is_earlier_answer;
    if (context_.log != nullptr && context_.resume) {
      context_.log->warn("{} is made again: {}", row.id, state.made_again);
    }
  }
  auto before = states_.find(row.id, item.parameters, true);
  if (!before || (!context_.resume && !context_.is_of_this_job(before->run))) return item;
  if (!before->differs.empty()) {
    if (context_.log != nullptr) {
      context_.log->warn("{}: the state after step {} is not used, as it is of another request: {}", row.id,
                         before->steps_done, before->differs);
    }
    return item;
  }
  if (item.parameters.automatic_seed) request.seed = before->seed;
  if (context_.log != nullptr) {
    context_.log->info("{}: going on after step {} of {}", row.id, before->steps_done, request.sample_steps);
  }
  item.before = std::move(before);
  return item;
}

void Leader::make(ItemInHand& item) {
  tools_.clock.begin_item();
  tools_.clock.expect_closing(queue_.closing_s());
  try {
    if (item.row.error) throw ItemError("manifest", *item.row.error);
    if (item.deaths.size() >= deaths_before_failed) throw ItemError("crash", describe_deaths(item.deaths));
    if (const auto obstacle = store::find_obstacle(context_.folder, item.row.id, context_.save_latents)) {
      throw ItemError(std::string(store::obstacle_stage), *obstacle);
    }
    const RequestReport report = compute(item);
    if (report.end == RunEnd::stopped) {
      // Not for the limit's sake: this rank or another one of the group was told to stop.
      const StopClock& clock = tools_.clock;
      const bool is_too_late = clock.is_too_late_for_step() || clock.is_too_late_for_ending();
      if (!is_too_late && !tools_.has_storage_problem()) tools_.clock.ask();
      put_aside(item);
    } else {
      const Stopwatch publishing;
      results_.publish(item, report);
      ++counts_.made;
      tools_.clock.took_ending(item.phase_s["decode"] + item.phase_s["write"] + publishing.elapsed_s());
    }
  } catch (const StorageError& error) {
    put_aside(item);
    end_for_storage(error.what());
  } catch (const MemoryError& error) {
    // Not the manifest's fault, and the steps can be gone on from elsewhere.
    clear_away(item);
    record_failure(item, error);
  } catch (const ItemError& error) {
    clear_away(item);
    record_failure(item, manifest::with_place(error, item.row, context_.origin.manifest));
    // What went wrong in the steps would go wrong again; what came after them can be tried again from there.
    if (error.stage() == "denoise" && item.claim.is_held()) states_.remove(item.row.id);
  } catch (const std::bad_alloc&) {
    if (!group_is_waiting_) throw;  // the others are in the engine's collectives
    clear_away(item);
    record_failure(item,
                   MemoryError("memory", "the host refused memory; use a smaller size or fewer frames"));
  } catch (const std::exception& error) {
    // The run ends here. The claim goes with the item, so nobody would look for what is left of it.
    clear_away_at_end(item);
    note_end_of_run(item.row, token(), error.what(), context_, engine_.task());
    throw;
  }
}

void Leader::clear_away(const ItemInHand& item) const { queue_.clear_away(item.row.id, token()); }

void Leader::clear_away_at_end(const ItemInHand& item) const {
  try {
    clear_away(item);
  } catch (const Error& error) {
    if (context_.log != nullptr) context_.log->warn("{}", error.what());
  }
}

void Leader::put_aside(const ItemInHand& item) {
  clear_away_at_end(item);
  counts_.stopped = true;
  results_.put_aside(item);
}

void Leader::record_failure(const ItemInHand& item, const ItemError& error) {
  try {
    results_.record_failure(item, error);
    ++counts_.failed;
  } catch (const StorageError& storage) {
    put_aside(item);
    end_for_storage(storage.what());
  }
}

RequestReport Leader::compute(ItemInHand& item) {
  engine_.validate(item.parameters.request);
  while (true) {
    try {
      return compute_once(item);
    } catch (const MemoryError& shortage) {
      clear_away(item);
      if (!change_for_less_memory(item, shortage)) throw;
      go_back_to_saved(item);
    }
  }
}

/// What a team had no memory for its first group may have, as it had before. After that, once per item, the
/// group takes a plan that needs less.
bool Leader::change_for_less_memory(ItemInHand& item, const MemoryError& shortage) {
  std::string change;
  if (item.width > 1) {
    item.may_be_joined = false;
    change = "tried again by one group alone";
  } else if (!std::exchange(item.is_leaner, true)) {
    send({.action = Order::Action::make_leaner});
    const std::string what = engine_.make_leaner();
    if (what.empty()) return false;
    change = fmt::format("tried again with {}, as are all later items", what);
  } else {
    return false;
  }
  if (context_.log != nullptr) context_.log->warn("{}: {}; {}", item.row.id, shortage.what(), change);
  return true;
}

/// To the last state that this run has saved; without one, to where it began.
void Leader::go_back_to_saved(ItemInHand& item) {
  item.rank_seconds += item.part_watch.elapsed_s() * group_.size() * item.width;
  item.part_watch = Stopwatch();
  auto saved = states_.find(item.row.id, item.parameters, true);
  if (!saved || !saved->differs.empty() || saved->run != context_.origin.run) return;
  saved->seconds = item.seconds();  // what was lost since it was saved counts too
  saved->gpu_seconds = item.gpu_seconds(0);
  saved->energy_j = item.energy_j();
  item.watch = Stopwatch();
  item.rank_seconds = 0;
  item.part_energy_j = 0;
  item.before = std::move(saved);
}

RequestReport Leader::compute_once(ItemInHand& item) {
  const Request& request = item.parameters.request;
  Order order{.action = Order::Action::run,
              .row = &item.row - rows_.data(),
              .seed = request.seed,
              .width = 1,
              .leader_group = context_.group_index};
  WAN_CHECK(token().size() == order.token.size(), "token of {} digits", token().size());
  std::ranges::copy(token(), order.token.begin());
  OutputPaths outputs = context_.folder.temporary_outputs(request.id, token(), context_.save_latents);
  outputs.state = states_.temporary(request.id, token());
  if (item.before) outputs.resume_from = item.before->path;
  std::optional<int> first_step;
  int steps_kept = 0;
  while (true) {
    const auto width = static_cast<int>(order.width);
    ItemControl control(item, width, group_.size() * width, engine_, context_, tools_);
    RequestReport report = compute_part(item, order, outputs, control);
    if (!first_step) first_step = report.first_step;
    steps_kept =
        std::max(steps_kept, report.end == RunEnd::finished ? report.steps_done : control.steps_saved());
    if (report.end != RunEnd::handed_over) {
      counts_.steps_gained += std::max(steps_kept - *first_step, 0);
      return report;
    }
    order.width = control.next_width();
    tools_.teams.invite(order);
    if (context_.log != nullptr) {
      context_.log->detail("{}: {} groups work on it from step {} on", request.id, order.width,
                           report.steps_done);
    }
  }
}

RequestReport Leader::compute_part(ItemInHand& item, const Order& order, const OutputPaths& outputs,
                                   ItemControl& control) {
  item.part_watch = Stopwatch();
  item.width = static_cast<int>(order.width);
  EnergyMeter meter(observer_, item.part_energy_j);
  const int ranks = group_.size() * item.width;
  const auto end_metering = [&] {
    if (context_.on_gpu) meter.end(ranks, item.part_watch.elapsed_s());
  };
  send(order);
  try {
    RequestReport report = engine_.run(item.parameters.request, outputs, meter, control, order.team());
    group_is_waiting_ = true;
    end_metering();
    item.rank_seconds += item.part_watch.elapsed_s() * ranks;
    for (const auto& [phase, seconds] : report.phase_s) item.phase_s[phase] += seconds;
    return report;
  } catch (const ItemError&) {
    group_is_waiting_ = true;  // thrown on every rank alike
    end_metering();
    throw;
  }
}

/// No item is left for this group: it lends a hand where it is asked to.
void Leader::help() {
  tools_.teams.announce_idle();
  Stopwatch since_look;
  while (true) {
    tools_.teams.read_letters();
    if (tools_.teams.has_heard_stop()) tools_.clock.ask();
    if (tools_.clock.is_asked()) tools_.teams.announce_stop();
    if (const auto order = tools_.teams.take_invitation()) {
      assist(*order);
      continue;
    }
    if (tools_.teams.are_all_idle()) return;
    if (since_look.elapsed_s() > std::chrono::duration<double>(context_.timing.heartbeat).count()) {
      since_look = Stopwatch();
      if (const auto silent = tools_.claims.find_silent_partner()) {
        fail("the leader of another group ({}) is silent for more than {} s: it hangs or is suspended",
             *silent, std::chrono::duration<double>(context_.timing.stale_after).count());
      }
    }
    std::this_thread::sleep_for(idle_nap);
  }
}

void Leader::assist(const Order& order) {
  send(order);
  if (take_part(engine_, order, rows_, context_, observer_) == RunEnd::stopped) counts_.stopped = true;
  group_is_waiting_ = true;
}

}  // namespace wan::batch
