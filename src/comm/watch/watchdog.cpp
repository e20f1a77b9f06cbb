#include "comm/watch/watchdog.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "core/check.h"

namespace wan::comm {
namespace {

/// The longest time between two looks. After a longer one, this process was suspended, and no rank is to
/// blame for that time.
constexpr double longest_pause_s = 1;

std::string last(const std::optional<CallMark>& mark) { return mark ? mark->describe() : "none"; }

bool is_before(const std::optional<CallMark>& mark, std::uint64_t number) {
  return !mark || mark->number < number;
}

std::string describe_peer(const GroupProgress& peer, const CallRecord& call) {
  if (is_before(peer.started, call.number))
    return fmt::format("lags: it last started {} and finished {}", last(peer.started), last(peer.finished));
  if (!is_before(peer.finished, call.number))
    return fmt::format("is past it: it last finished {}", last(peer.finished));
  if (peer.started->number == call.number && peer.started->operation != call.operation)
    return fmt::format("is in {} instead: the ranks disagree about the order of calls", last(peer.started));
  if (is_before(peer.reached, call.number)) {
    return fmt::format(
        "has issued it, but its device has not come to it: it computes, or waits in another group; it last "
        "finished {}",
        last(peer.finished));
  }
  return "is in it too";
}

std::string describe_rank_progress(const RankProgress* rank, std::uint64_t key, const CallRecord& call) {
  if (rank == nullptr) return "is on another node: see its own message";
  if (rank->gone) return fmt::format("has died: there is no process {} any more", rank->pid);
  const auto peer = std::ranges::find(rank->groups, key, &GroupProgress::key);
  return peer == rank->groups.end() ? "has left the group" : describe_peer(*peer, call);
}

}  // namespace

void end_process(const std::string& message) {
  std::fputs(message.c_str(), stderr);
  std::fputs("The job ends here.\n", stderr);
  std::fflush(stderr);
  std::_Exit(1);
}

std::string GroupIdentity::describe_rank() const {
  return fmt::format("rank {} of {} in group '{}' (world rank {})", rank, size(), name, world_rank());
}

std::string describe_peers(const GroupIdentity& identity, const CallRecord& call,
                           const std::vector<RankProgress>& node) {
  std::string text;
  for (int peer = 0; peer < identity.size(); ++peer) {
    if (peer == identity.rank) continue;
    const int world_rank = identity.world_ranks[static_cast<std::size_t>(peer)];
    const auto found = std::ranges::find(node, world_rank, &RankProgress::world_rank);
    text += fmt::format("{}rank {} (world rank {}) {}", text.empty() ? "" : "; ", peer, world_rank,
                        describe_rank_progress(found == node.end() ? nullptr : &*found, identity.key, call));
  }
  return text.empty() ? "it has none" : text;
}

std::string describe_node(const std::vector<RankProgress>& node) {
  std::string text;
  for (const RankProgress& rank : node) {
    text +=
        fmt::format("  world rank {}, process {}{}:", rank.world_rank, rank.pid, rank.gone ? " (gone)" : "");
    for (const GroupProgress& group : rank.groups) {
      text += fmt::format(" '{}' started {}, reached {}, finished {};", group.group, last(group.started),
                          last(group.reached), last(group.finished));
    }
    text += rank.groups.empty() ? " in no group\n" : "\n";
  }
  return text;
}

Watchdog::Watchdog(const MpiRanks& ranks, Communicator& world, WatchdogOptions options)
    : where_(fmt::format("world rank {} on {}", ranks.world_rank(), ranks.host_name())),
      options_(std::move(options)),
      board_(ranks, world) {
  WAN_CHECK(options_.poll_interval_s > 0, "a poll interval of {} s", options_.poll_interval_s);
  WAN_CHECK(options_.end_job != nullptr, "a watchdog that nobody listens to");
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

Watchdog::~Watchdog() = default;

void Watchdog::add(WatchedGroup& group) {
  const std::scoped_lock lock(mutex_);
  entries_.push_back({.group = &group});
}

void Watchdog::remove(WatchedGroup& group) noexcept {
  const std::scoped_lock lock(mutex_);
  std::erase_if(entries_, [&](const Entry& entry) { return entry.group == &group; });
}

void Watchdog::run(const std::stop_token& stop) {
  const std::chrono::duration<double> interval(options_.poll_interval_s);
  while (!stop.stop_requested()) {
    // Called without the lock, because a test's end_job returns and may take long.
    for (const std::string& message : look()) options_.end_job(message);
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, stop, interval, [] { return false; });
  }
}

double Watchdog::seen_s(Entry& entry, const WatchedGroup::Running& running) const {
  // The numbers of calls begin at 0.
  if (entry.call != running.call.number + 1) {
    entry.call = running.call.number + 1;
    entry.away_before_s = away_s_;
  }
  return running.elapsed_s - (away_s_ - entry.away_before_s);
}

std::vector<std::string> Watchdog::look() {
  std::vector<std::string> messages;
  const std::scoped_lock lock(mutex_);
  const double now_s = clock_.elapsed_s();
  const double pause_s = now_s - last_look_s_;
  last_look_s_ = now_s;
  if (pause_s > longest_pause_s + options_.poll_interval_s) away_s_ += pause_s;
  for (Entry& entry : entries_) {
    if (entry.reported) continue;
    const WatchedGroup::Observation seen = entry.group->observe();
    const double limit_s = entry.group->timeout_s();
    entry.reported = !seen.error.empty() || (seen.running && seen_s(entry, *seen.running) > limit_s);
    if (entry.reported) messages.push_back(report(entry.group->identity(), seen, limit_s));
  }
  return messages;
}

std::string Watchdog::report(const GroupIdentity& identity, const WatchedGroup::Observation& seen,
                             double limit_s) const {
  const std::vector<RankProgress> node = board_.ranks();
  const std::string who = identity.describe_rank();
  std::string problem = fmt::format("{} has failed: {}.", who, seen.error);
  if (seen.running) {
    const auto& [call, elapsed_s] = *seen.running;
    problem = seen.error.empty() ? fmt::format("{} timed out after {:.1f} s (limit {:g} s) on {}.",
                                               call.describe(), elapsed_s, limit_s, who)
                                 : fmt::format("{} failed after {:.1f} s on {}: {}.", call.describe(),
                                               elapsed_s, who, seen.error);
    problem += fmt::format(" The other ranks: {}.", describe_peers(identity, call, node));
  }
  return fmt::format("{}: {} If a rank was only slow, raise the collective timeout. This node:\n{}", where_,
                     problem, describe_node(node));
}

}  // namespace wan::comm
