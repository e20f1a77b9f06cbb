#include "batch/leader.h"

#include <unistd.h>

#include <algorithm>
#include <thread>

#include "batch/energy_meter.h"
#include "batch/text.h"
#include "core/check.h"
#include "core/checksum.h"
#include "core/file.h"
#include "core/log.h"

namespace wan::batch {
namespace {

constexpr std::chrono::milliseconds idle_nap{5};
constexpr std::chrono::milliseconds turn{50};  // in which a group looks for an item and claims it

/// Asked when a file is complete under its hidden name and before it gets its final one. An owner that slept
/// in between either sees here that it was followed, or finds the hidden file removed by its follower.
void require_claim(const ItemInHand& item) {
  if (item.claim.is_held()) return;
  fail("another process took this item over, as this one was silent for too long");
}

/// What the engine found wrong with a value of a row, with the value's place in the manifest.
ItemError with_place(const ItemInHand& item, const ItemError& error, const RunContext& context) {
  if (item.row.error || (error.stage() != "image" && error.stage() != "text")) return error;
  const auto& place = error.stage() == "image" ? item.row.image_place : item.row.prompt_place;
  if (!place) return error;
  return {error.stage(), fmt::format("{}:{}:{}: {}", printable(context.origin.manifest), place->line,
                                     place->column, error.what())};
}

OutputFile publish_output(const ItemInHand& item, const std::filesystem::path& from,
                          const std::filesystem::path& to) {
  const auto size = plain_file_size(from);
  if (!size || *size == 0) fail("the engine left no output in {}", from.string());
  OutputFile file{.bytes = *size, .sha256 = sha256_file_hex(from)};
  require_claim(item);
  publish_file(from, to);
  return file;
}

}  // namespace

Leader::Leader(Engine& engine, comm::Communicator& group, std::span<const ManifestRow> rows,
               const RunContext& context, ItemObserver& observer, TeamBoard& teams)
    : engine_(engine),
      group_(group),
      rows_(rows),
      context_(context),
      observer_(observer),
      states_(context.folder.states()),
      tools_{.claims = ClaimBoard(context.folder.claims(),
                                  ClaimOwner::this_process(context.origin.run, context.job), context.timing),
             .clock = StopClock({.is_signalled = context.stop_requested,
                                 .elapsed_s = context.elapsed_s,
                                 .time_limit_s = context.time_limit_s}),
             .teams = teams} {
  for (std::size_t row = 0; row < rows.size(); ++row) queue_.push_back(row);
}

GroupCounts Leader::run() {
  let_others_choose_first();
  while (auto item = next()) {
    observer_.on_item_start({.request = item->parameters.request,
                             .row = item->row.index,
                             .settled = std::ssize(rows_) - std::ssize(queue_) - 1,
                             .rows = std::ssize(rows_)});
    make(*item);
    tools_.claims.show_progress(std::nullopt);
  }
  for (const std::string& id : still_held_) release_of_dead(id);
  help();
  return counts_;
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
  return counts_.stopped || tools_.clock.is_too_late_for_item();
}

void Leader::clear_away(const std::string& id, const std::string& token) const {
  context_.folder.remove_temporaries(id, token);
  states_.remove_temporary(id, token);
}

/// Claims the row if it still needs doing.
std::optional<Claim> Leader::try_row(const ManifestRow& row, bool& is_settled, bool& is_undecided,
                                     ItemState& state) {
  // Content is read once per job: each group looks after its share of the rows.
  const bool by_content = row.index % context_.group_count == context_.group_index;
  state = look_up(row, context_, engine_.task(), by_content);
  is_settled = state.status != ItemStatus::open;
  if (is_settled) {
    if (std::ranges::binary_search(tools_.claims.held_at_start(), row.id) && !release_of_dead(row.id)) {
      still_held_.push_back(row.id);
    }
    return std::nullopt;
  }
  ClaimAttempt attempt = tools_.claims.try_claim(row.id);
  is_undecided = attempt.outcome == ClaimAttempt::Outcome::undecided;
  if (!attempt.claim) return std::nullopt;
  clear_after_dead(*attempt.claim);
  // Its last owner may have finished it between the look and the claim.
  state = look_up(row, context_, engine_.task(), by_content);
  is_settled = state.status != ItemStatus::open;
  if (is_settled) return std::nullopt;
  return std::move(attempt.claim);
}

/// What the owners before this one left of an item under hidden names.
void Leader::clear_after_dead(const Claim& claim) const {
  for (const std::string& token : claim.dead_tokens()) {
    clear_away(claim.id(), token);
    if (context_.log != nullptr) context_.log->detail("{}: taken over from an owner that died", claim.id());
  }
}

/// An owner that died between an item's last file and the release leaves a claim that nobody else looks at.
/// False if it is not known yet whether the owner is alive.
bool Leader::release_of_dead(const std::string& id) {
  const ClaimAttempt attempt = tools_.claims.try_claim(id);
  if (attempt.claim) clear_after_dead(*attempt.claim);
  return attempt.outcome != ClaimAttempt::Outcome::undecided;
}

std::optional<ItemInHand> Leader::next() {
  std::size_t in_vain = 0;  // rows tried since the last one that was settled
  bool some_undecided = false;
  while (!queue_.empty()) {
    if (is_stopping()) {
      counts_.stopped = true;
      return std::nullopt;
    }
    if (in_vain == queue_.size()) {
      if (!some_undecided) return std::nullopt;  // every one is in the hands of an owner that is alive
      in_vain = 0;
      some_undecided = false;
      std::this_thread::sleep_for(std::max(context_.timing.heartbeat / 4, std::chrono::milliseconds(1)));
    }
    const std::size_t index = queue_.front();
    queue_.pop_front();
    bool is_settled = false;
    bool is_undecided = false;
    ItemState state;
    if (auto claim = try_row(rows_[index], is_settled, is_undecided, state)) {
      return begin(rows_[index], std::move(*claim), state);
    }
    if (is_settled) {
      in_vain = 0;
      continue;
    }
    queue_.push_back(index);
    some_undecided = some_undecided || is_undecided;
    ++in_vain;
  }
  return std::nullopt;
}

ItemInHand Leader::begin(const ManifestRow& row, Claim claim, const ItemState& state) {
  ItemInHand item{
      .row = row, .claim = std::move(claim), .parameters = {}, .origin = context_.origin, .before = {}};
  item.origin.line = row.line;
  item.origin.started = utc_now();
  item.origin.ranks = group_.size();
  item.parameters.request.id = row.id;
  if (row.error) return item;
  item.parameters = wanted_parameters(row, context_, engine_.task());
  Request& request = item.parameters.request;
  if (item.parameters.automatic_seed && state.kept_seed) request.seed = *state.kept_seed;
  auto before = states_.find(row.id, item.parameters, true);
  if (!before || !before->answers_request) return item;
  if (!context_.resume && before->run != context_.origin.run) return item;
  if (item.parameters.automatic_seed && before->automatic_seed) request.seed = *before->automatic_seed;
  if (context_.log != nullptr) {
    context_.log->info("{}: going on after step {} of {}", row.id, before->steps_done, request.sample_steps);
  }
  item.before = std::move(before);
  return item;
}

void Leader::make(ItemInHand& item) {
  tools_.clock.begin_item();
  try {
    if (item.row.error) throw ItemError("manifest", *item.row.error);
    const RequestReport report = compute(item);
    if (report.end == RunEnd::stopped) {
      // Not for the limit's sake: this rank or another one of the group was told to stop.
      const StopClock& clock = tools_.clock;
      if (!clock.is_too_late_for_step() && !clock.is_too_late_for_ending()) tools_.clock.ask();
      put_aside(item);
    } else {
      publish(item, report);
    }
  } catch (const MemoryError& error) {
    // Not the manifest's fault, and the steps can be gone on from elsewhere.
    clear_away(item.row.id, token());
    record_failure(item, error);
  } catch (const ItemError& error) {
    clear_away(item.row.id, token());
    record_failure(item, with_place(item, error, context_));
    // What went wrong in the steps would go wrong again; what came after them can be tried again from there.
    if (error.stage() == "denoise" && item.claim.is_held()) states_.remove(item.row.id);
  } catch (...) {
    // The run ends here. The claim goes with the item, so nobody would look for what is left of it.
    try {
      clear_away(item.row.id, token());
    } catch (const Error& second) {
      if (context_.log != nullptr) context_.log->warn("{}", second.what());
    }
    throw;
  }
}

RequestReport Leader::compute(ItemInHand& item) {
  engine_.validate(item.parameters.request);
  while (true) {
    try {
      return compute_once(item);
    } catch (const MemoryError& shortage) {
      clear_away(item.row.id, token());
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
  if (!saved || !saved->answers_request || saved->run != context_.origin.run) return;
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
    if (const auto decode = report.phase_s.find("decode"); decode != report.phase_s.end()) {
      tools_.clock.took_ending(decode->second);
    }
    return report;
  } catch (const ItemError&) {
    group_is_waiting_ = true;  // thrown on every rank alike
    end_metering();
    throw;
  }
}

/// Comes last: with the sidecar the item is done.
void Leader::publish_sidecar(const ItemInHand& item, const Sidecar& sidecar) const {
  const OutputFolder& folder = context_.folder;
  const std::filesystem::path path = folder.sidecar(item.row.id);
  try {
    folder.publish_text(path, to_json_text(sidecar), token(), [&] { require_claim(item); });
  } catch (const Error&) {
    // It may have its name and not be safe on disk; an older one would speak of another video.
    if (item.claim.is_held()) ::unlink(path.c_str());
    throw;
  }
}

void Leader::publish(const ItemInHand& item, const RequestReport& report) {
  const OutputFolder& folder = context_.folder;
  const std::string& id = item.row.id;
  const double seconds = item.seconds();
  try {
    const OutputPaths temporary = folder.temporary_outputs(id, token(), context_.save_latents);
    Sidecar sidecar;
    sidecar.parameters = item.parameters;
    sidecar.report = report;
    sidecar.report.phase_s = item.phase_s;
    sidecar.video = publish_output(item, temporary.video, folder.video(id));
    if (context_.save_latents) sidecar.latents = publish_output(item, temporary.latents, folder.latents(id));
    sidecar.seconds = seconds;
    sidecar.gpu_seconds = context_.on_gpu ? item.gpu_seconds(0) : 0;
    sidecar.energy_j = item.energy_j();
    sidecar.resumed_at = item.resumed_at();
    sidecar.origin = item.origin;
    remove_file(folder.failure(id));  // first: a run killed in between leaves no item both done and failed
    publish_sidecar(item, sidecar);
  } catch (const Error& error) {
    throw ItemError("write", error.what());
  }
  ++counts_.made;
  try {
    states_.remove(id);
  } catch (const Error& error) {
    if (context_.log != nullptr) context_.log->warn("{} is done, but: {}", id, error.what());
  }
  observer_.on_item_end({.id = id,
                         .status = ItemStatus::done,
                         .of_this_run = true,
                         .size = report.size,
                         .frames = report.frames,
                         .steps = item.parameters.request.sample_steps,
                         .seconds = seconds,
                         .median_step_s = report.median_step_s,
                         .stage = {},
                         .message = {}});
}

/// The item goes on in a later run.
void Leader::put_aside(const ItemInHand& item) {
  clear_away(item.row.id, token());
  counts_.stopped = true;
  ItemOutcome outcome;
  outcome.id = item.row.id;
  outcome.of_this_run = true;
  observer_.on_item_end(outcome);
}

void Leader::record_failure(const ItemInHand& item, const ItemError& error) {
  const double seconds = item.seconds();
  // Whoever took the item over answers for it now.
  if (item.claim.is_held()) {
    FailureRecord failure{.id = item.row.id,
                          .stage = error.stage(),
                          .message = error.what(),
                          .parameters = {},
                          .rank = context_.world_rank,
                          .origin = item.origin};
    if (!item.row.error) failure.parameters = item.parameters;
    try {
      context_.folder.publish_text(context_.folder.failure(item.row.id), to_json_text(failure), token(),
                                   [&] { require_claim(item); });
    } catch (const Error&) {
      if (item.claim.is_held()) throw;
    }
  }
  ++counts_.failed;
  if (context_.log != nullptr)
    context_.log->detail("{} failed ({}): {}", item.row.id, error.stage(), error.what());
  ItemOutcome outcome;
  outcome.id = item.row.id;
  outcome.status = ItemStatus::failed;
  outcome.of_this_run = true;
  outcome.seconds = seconds;
  outcome.stage = error.stage();
  outcome.message = error.what();
  observer_.on_item_end(outcome);
}

/// No item is left for this group: it lends a hand where it is asked to.
void Leader::help() {
  tools_.teams.announce_idle();
  Stopwatch since_look;
  while (true) {
    tools_.teams.read_letters();
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
