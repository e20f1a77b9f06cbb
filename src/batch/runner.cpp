#include "batch/runner.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <thread>

#include "batch/text.h"
#include "core/check.h"
#include "core/checksum.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"

namespace wan::batch {
namespace {

/// What the leader tells its group; sent byte by byte.
struct Order {
  enum class Action : std::int64_t { run, stop, abort };
  Action action = Action::stop;
  std::int64_t row = 0;
  std::int64_t seed = 0;
  std::array<char, 32> token{};
};

void broadcast(comm::Communicator& group, Order& order) {
  group.broadcast(std::as_writable_bytes(std::span(&order, 1)), 0).wait();
}

/// The order in which one group looks at the rows. A row that another owner holds goes to the back.
class Leader {
 public:
  Leader(Engine& engine, comm::Communicator& group, std::span<const ManifestRow> rows,
         const RunContext& context, ItemObserver& observer)
      : engine_(engine),
        group_(group),
        rows_(rows),
        context_(context),
        observer_(observer),
        board_(context.folder.claims(), ClaimOwner::this_process(context.origin.run, context.job),
               context.timing) {
    for (std::size_t row = 0; row < rows.size(); ++row) queue_.push_back(row);
  }

  GroupCounts run() {
    while (auto item = next()) {
      observer_.on_item_start({.request = item->parameters.request,
                               .row = item->row.index,
                               .settled = std::ssize(rows_) - std::ssize(queue_) - 1,
                               .rows = std::ssize(rows_)});
      make(*item);
    }
    for (const std::string& id : still_held_) release_of_dead(id);
    return counts_;
  }

  /// Other ranks wait for the next order, not inside the engine.
  bool group_is_waiting() const { return group_is_waiting_; }
  void send(Order order) {
    group_is_waiting_ = false;
    broadcast(group_, order);
    group_is_waiting_ = order.action != Order::Action::run;
  }

 private:
  struct Item {
    const ManifestRow& row;
    Claim claim;
    Parameters parameters;  ///< of a bad row only the id is set
    Origin origin;
  };

  std::optional<Item> next();
  std::optional<Claim> try_row(const ManifestRow& row, bool& is_settled, bool& is_undecided,
                               ItemState& state);
  bool release_of_dead(const std::string& id);
  void clear_after_dead(const Claim& claim) const;
  Item begin(const ManifestRow& row, Claim claim, const ItemState& state);
  void make(Item& item);
  RequestReport compute(const Item& item);
  void publish(const Item& item, const RequestReport& report, double seconds);
  static void require_claim(const Item& item);
  OutputFile publish_output(const Item& item, const std::filesystem::path& from,
                            const std::filesystem::path& to) const;
  void publish_sidecar(const Item& item, const Sidecar& sidecar) const;
  void record_failure(const Item& item, const ItemError& error, double seconds);
  bool is_stopping() const { return context_.stop_requested && context_.stop_requested(); }

  Engine& engine_;
  comm::Communicator& group_;
  std::span<const ManifestRow> rows_;
  const RunContext& context_;
  ItemObserver& observer_;
  ClaimBoard board_;
  std::deque<std::size_t> queue_;        ///< rows not known to be settled
  std::vector<std::string> still_held_;  ///< settled rows whose claim may be a dead owner's
  GroupCounts counts_;
  bool group_is_waiting_ = true;
};

/// Claims the row if it still needs doing.
std::optional<Claim> Leader::try_row(const ManifestRow& row, bool& is_settled, bool& is_undecided,
                                     ItemState& state) {
  // Content is read once per job: each group looks after its share of the rows.
  const bool by_content = row.index % context_.group_count == context_.group_index;
  state = look_up(row, context_, engine_.task(), by_content);
  is_settled = state.status != ItemStatus::open;
  if (is_settled) {
    if (std::ranges::binary_search(board_.held_at_start(), row.id) && !release_of_dead(row.id)) {
      still_held_.push_back(row.id);
    }
    return std::nullopt;
  }
  ClaimAttempt attempt = board_.try_claim(row.id);
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
    context_.folder.remove_temporaries(claim.id(), token);
    if (context_.log != nullptr) context_.log->detail("{}: taken over from an owner that died", claim.id());
  }
}

/// An owner that died between an item's last file and the release leaves a claim that nobody else looks at.
/// False if it is not known yet whether the owner is alive.
bool Leader::release_of_dead(const std::string& id) {
  const ClaimAttempt attempt = board_.try_claim(id);
  if (attempt.claim) clear_after_dead(*attempt.claim);
  return attempt.outcome != ClaimAttempt::Outcome::undecided;
}

std::optional<Leader::Item> Leader::next() {
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

Leader::Item Leader::begin(const ManifestRow& row, Claim claim, const ItemState& state) {
  Item item{.row = row, .claim = std::move(claim), .parameters = {}, .origin = context_.origin};
  item.origin.line = row.line;
  item.origin.started = utc_now();
  item.origin.ranks = group_.size();
  item.parameters.request.id = row.id;
  if (row.error) return item;
  item.parameters = wanted_parameters(row, context_, engine_.task());
  if (item.parameters.automatic_seed && state.kept_seed) item.parameters.request.seed = *state.kept_seed;
  return item;
}

void Leader::make(Item& item) {
  const Stopwatch watch;
  try {
    if (item.row.error) throw ItemError("manifest", *item.row.error);
    const RequestReport report = compute(item);
    publish(item, report, watch.elapsed_s());
  } catch (const ItemError& error) {
    context_.folder.remove_temporaries(item.row.id, board_.owner().token);
    record_failure(item, error, watch.elapsed_s());
  } catch (...) {
    // The run ends here. The claim goes with the item, so nobody would look for what is left of it.
    try {
      context_.folder.remove_temporaries(item.row.id, board_.owner().token);
    } catch (const Error& second) {
      if (context_.log != nullptr) context_.log->warn("{}", second.what());
    }
    throw;
  }
}

RequestReport Leader::compute(const Item& item) {
  const Request& request = item.parameters.request;
  engine_.validate(request);
  const std::string& token = board_.owner().token;
  Order order{
      .action = Order::Action::run, .row = &item.row - rows_.data(), .seed = request.seed, .token = {}};
  WAN_CHECK(token.size() == order.token.size(), "token of {} digits", token.size());
  std::ranges::copy(token, order.token.begin());
  send(order);
  try {
    RequestReport report = engine_.run(
        request, context_.folder.temporary_outputs(request.id, token, context_.save_latents), observer_);
    group_is_waiting_ = true;
    return report;
  } catch (const ItemError&) {
    group_is_waiting_ = true;  // thrown on every rank alike
    throw;
  }
}

/// Asked when a file is complete under its hidden name and before it gets its final one. An owner that slept
/// in between either sees here that it was followed, or finds the hidden file removed by its follower.
void Leader::require_claim(const Item& item) {
  if (item.claim.is_held()) return;
  fail("another process took this item over, as this one was silent for too long");
}

OutputFile Leader::publish_output(const Item& item, const std::filesystem::path& from,
                                  const std::filesystem::path& to) const {
  const auto size = plain_file_size(from);
  if (!size || *size == 0) fail("the engine left no output in {}", from.string());
  OutputFile file{.bytes = *size, .sha256 = sha256_file_hex(from)};
  require_claim(item);
  publish_file(from, to);
  return file;
}

/// Comes last: with the sidecar the item is done.
void Leader::publish_sidecar(const Item& item, const Sidecar& sidecar) const {
  const OutputFolder& folder = context_.folder;
  const std::filesystem::path path = folder.sidecar(item.row.id);
  try {
    folder.publish_text(path, to_json_text(sidecar), board_.owner().token, [&] { require_claim(item); });
  } catch (const Error&) {
    // It may have its name and not be safe on disk; an older one would speak of another video.
    if (item.claim.is_held()) ::unlink(path.c_str());
    throw;
  }
}

void Leader::publish(const Item& item, const RequestReport& report, double seconds) {
  const OutputFolder& folder = context_.folder;
  const std::string& id = item.row.id;
  const std::string& token = board_.owner().token;
  try {
    const OutputPaths temporary = folder.temporary_outputs(id, token, context_.save_latents);
    Sidecar sidecar;
    sidecar.parameters = item.parameters;
    sidecar.report = report;
    sidecar.video = publish_output(item, temporary.video, folder.video(id));
    if (context_.save_latents) sidecar.latents = publish_output(item, temporary.latents, folder.latents(id));
    sidecar.seconds = seconds;
    sidecar.gpu_seconds = report.device == "cpu" ? 0 : seconds * group_.size();
    sidecar.origin = item.origin;
    remove_file(folder.failure(id));  // first: a run killed in between leaves no item both done and failed
    publish_sidecar(item, sidecar);
  } catch (const Error& error) {
    throw ItemError("write", error.what());
  }
  ++counts_.made;
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

void Leader::record_failure(const Item& item, const ItemError& error, double seconds) {
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
      context_.folder.publish_text(context_.folder.failure(item.row.id), to_json_text(failure),
                                   board_.owner().token, [&] { require_claim(item); });
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

GroupCounts lead(Engine& engine, comm::Communicator& group, std::span<const ManifestRow> rows,
                 const RunContext& context, ItemObserver& observer) {
  std::optional<Leader> leader;
  try {
    leader.emplace(engine, group, rows, context, observer);
    const GroupCounts counts = leader->run();
    leader->send({.action = Order::Action::stop, .row = 0, .seed = 0, .token = {}});
    return counts;
  } catch (...) {
    // Nobody may be left waiting for an order. Inside the engine the ranks are in its collectives: it is the
    // communicators' timeout that ends those.
    Order abort{.action = Order::Action::abort, .row = 0, .seed = 0, .token = {}};
    if (!leader || leader->group_is_waiting()) broadcast(group, abort);
    throw;
  }
}

void follow(Engine& engine, comm::Communicator& group, std::span<const ManifestRow> rows,
            const RunContext& context, ItemObserver& observer) {
  while (true) {
    Order order;
    broadcast(group, order);
    if (order.action == Order::Action::stop) return;
    if (order.action == Order::Action::abort) fail("rank 0 of the group gave up; its message says why");
    WAN_CHECK(order.row >= 0 && order.row < std::ssize(rows), "row {} of {}", order.row, rows.size());
    const ManifestRow& row = rows[static_cast<std::size_t>(order.row)];
    Request request = resolve(row, context.command_line, engine.task().defaults, context.settings);
    request.seed = order.seed;
    const std::string_view token(order.token.data(), order.token.size());
    try {
      engine.run(request, context.folder.temporary_outputs(row.id, token, context.save_latents), observer);
    } catch (const ItemError&) {
      // Thrown on every rank alike; the leader records it.
      continue;
    }
  }
}

}  // namespace

GroupCounts run_group(Engine& engine, comm::Communicator& group, std::span<const ManifestRow> rows,
                      const RunContext& context, ItemObserver& observer) {
  if (group.rank() == 0) return lead(engine, group, rows, context, observer);
  follow(engine, group, rows, context, observer);
  return {};
}

}  // namespace wan::batch
