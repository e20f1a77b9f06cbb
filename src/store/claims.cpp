#include "store/claims.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/file.h"
#include "core/strings.h"
#include "store/claim_heartbeat.h"
#include "store/claim_link.h"
#include "store/claim_owner.h"

namespace wan::store {
namespace {

using nlohmann::json;
using std::chrono::steady_clock;

constexpr int max_generation = 1000;  // bounds the search when a folder is tampered with
constexpr int largest_gap = 4;

}  // namespace

Claim::Claim(const ClaimBoard& board, std::string id, int generation, std::vector<DeadOwner> dead_owners)
    : board_(&board), id_(std::move(id)), generation_(generation), dead_owners_(std::move(dead_owners)) {}

Claim::Claim(Claim&& other) noexcept
    : board_(std::exchange(other.board_, nullptr)),
      id_(std::move(other.id_)),
      generation_(other.generation_),
      dead_owners_(std::move(other.dead_owners_)) {}

Claim::~Claim() {
  if (board_ != nullptr) board_->release(id_, generation_);
}

std::vector<std::string> Claim::dead_tokens() const {
  std::vector<std::string> tokens;
  tokens.reserve(dead_owners_.size());
  for (const DeadOwner& owner : dead_owners_) tokens.push_back(owner.token);
  return tokens;
}

bool Claim::is_held() const { return board_->is_held(id_, generation_); }

ClaimBoard::ClaimBoard(std::filesystem::path folder, ClaimOwner owner, ClaimTiming timing)
    : folder_(std::move(folder)), owner_(std::move(owner)), timing_(timing) {
  remove_orphans();
  held_at_start_ = claimed_ids();
  heartbeat_ = std::make_unique<Heartbeat>(owner_file(folder_, owner_.token), owner_text(owner_), timing_);
}

ClaimBoard::~ClaimBoard() {
  try {
    remove_orphans();
  } catch (const std::exception&) {
    // What cannot be listed now is left to the next board.
    return;
  }
}

void ClaimBoard::show_progress(const std::optional<ClaimProgress>& progress) const noexcept {
  const std::scoped_lock lock(progress_mutex_);
  progress_ = progress;
  write_progress();
}

void ClaimBoard::note_stop() const noexcept {
  const std::scoped_lock lock(progress_mutex_);
  is_told_to_stop_ = true;
  write_progress();
}

/// With the mutex held.
void ClaimBoard::write_progress() const noexcept {
  try {
    json fields = json::object();
    if (progress_) {
      fields = {{"id", progress_->id},
                {"phase", progress_->phase},
                {"step", progress_->step},
                {"steps", progress_->steps},
                {"step_s", std::round(progress_->step_s * 1e4) / 1e4}};
    }
    if (is_told_to_stop_) fields["told_to_stop"] = true;
    heartbeat_->write_progress(progress_line(fields));
  } catch (const std::exception&) {
    return;  // no memory for a line of text: there will be other trouble
  }
}

std::filesystem::path ClaimBoard::link_path(const std::string& id, int generation) const {
  return folder_ /
         (generation == 0 ? fmt::format("{}.claim", id) : fmt::format("{}.claim.{}", id, generation));
}

/// By the inode, or else by the token in it: on sshfs and its like a link has an inode number of its own, and
/// a copy has one everywhere.
bool ClaimBoard::is_ours(const std::filesystem::path& link) const {
  struct stat status {};
  if (::lstat(link.c_str(), &status) != 0) return false;
  if (heartbeat_->is_file(status)) return true;
  const auto content = read_claim(link);
  const auto owner = content ? parse_owner(*content) : std::nullopt;
  return owner && owner->token == owner_.token;
}

/// Only one of many processes succeeds.
bool ClaimBoard::make_link(const std::filesystem::path& link) const {
  switch (make_claim_link(heartbeat_->path(), link)) {
    case ClaimLink::made:
      return true;
    case ClaimLink::taken:
      // A network file system may have done it and lost the answer: then the repeated call finds our own
      // file.
      return is_ours(link);
  }
  return false;
}

/// -1 if nobody has claimed the item. A crash in the middle of a release leaves gaps in the chain, so that
/// what is far above a link is found from that link only: `known` is the highest that the caller knows of.
int ClaimBoard::highest_generation(const std::string& id, int known) const {
  int highest = -1;
  for (int generation = 0;
       generation <= std::max(highest, known) + largest_gap && generation <= max_generation; ++generation) {
    if (is_there(link_path(id, generation))) highest = generation;
  }
  return highest;
}

/// An owner beats for all of its claims, so what is remembered is one sighting per owner, however many of its
/// items were passed by.
ClaimBoard::Life ClaimBoard::judge(const std::string& link, const std::string& content) {
  const auto owner = parse_owner(content);
  if (owner && has_died(*owner, owner_)) return Life::dead;
  // A run lives and dies as one: with one of its processes the launcher ends them all. Should one only be
  // silent, find_silent_partner() tells.
  if (owner && is_partner(*owner)) return Life::alive;
  return watch(owner ? owner->token : link, content);
}

bool ClaimBoard::is_partners(const std::string& content) const {
  const auto owner = parse_owner(content);
  return owner && is_partner(*owner);
}

bool ClaimBoard::is_partner(const ClaimOwner& owner) const {
  return !owner.run.empty() && owner.run == owner_.run && owner.token != owner_.token;
}

ClaimBoard::Life ClaimBoard::watch(const std::string& key, const std::string& content) {
  const auto now = steady_clock::now();
  const auto [found, is_new] = sightings_.try_emplace(key, Sighting{.content = content, .since = now});
  Sighting& sighting = found->second;
  sighting.since = std::max(sighting.since, heartbeat_->here_since());
  if (!is_new && sighting.content != content) {
    sighting = Sighting{.content = content, .since = now, .has_beaten = true};
  }
  if (now - sighting.since >= timing_.stale_after) return Life::dead;
  return sighting.has_beaten ? Life::alive : Life::undecided;
}

/// Before a link is made.
void ClaimBoard::tell(const std::function<std::string()>& request) const {
  const std::string text = request ? request() : std::string();
  WAN_CHECK(text.size() <= request_columns, "a request of {} characters", text.size());
  heartbeat_->write_request(text);
}

ClaimAttempt ClaimBoard::try_claim(const std::string& id, const std::function<std::string()>& request) {
  using Outcome = ClaimAttempt::Outcome;
  int known = -1;  // the highest generation that was seen from a link of our own
  for (int tries = 0; tries < 3; ++tries) {
    const int generation = highest_generation(id, known);
    if (generation < 0) {
      tell(request);
      if (!make_link(link_path(id, 0))) continue;  // somebody was faster: look at them
      known = highest_generation(id, 0);
      if (known == 0 && is_ours(link_path(id, 0))) {
        return {.outcome = Outcome::acquired, .claim = Claim(*this, id, 0, {}), .holder = {}, .request = {}};
      }
      // A taker's link is ahead of a chain whose lower links were just released, or a dead owner's link is
      // what a crash in the middle of a release left: look at it.
      ::unlink(link_path(id, 0).c_str());
      continue;
    }
    const std::filesystem::path link = link_path(id, generation);
    const auto content = read_claim(link);
    if (!content) continue;  // released a moment ago
    const Life life = judge(link.filename().string(), *content);
    if (life == Life::dead) {
      tell(request);
      const int mine = generation + 1;
      ClaimAttempt attempt = take_over(id, mine, *content, known);
      if (attempt.claim || known <= mine) return attempt;
      continue;  // there are links beyond a gap: look at them
    }
    if (!is_there(link)) continue;  // released meanwhile: what it makes may be another item already
    return {.outcome = life == Life::alive ? Outcome::alive : Outcome::undecided,
            .claim = {},
            .holder = describe(*content),
            .request = is_partners(*content) ? std::string() : request_in(*content)};
  }
  return {.outcome = Outcome::undecided, .claim = {}, .holder = "several at once", .request = {}};
}

/// `content` is the dead claim's below generation `mine`. If others are found above that, `known` is the
/// highest of them.
ClaimAttempt ClaimBoard::take_over(const std::string& id, int mine, const std::string& content, int& known) {
  using Outcome = ClaimAttempt::Outcome;
  const auto lost = [] {
    return ClaimAttempt{
        .outcome = Outcome::undecided, .claim = {}, .holder = "another one that took it over", .request = {}};
  };
  WAN_CHECK(mine <= max_generation, "{} was taken over {} times; remove its claims from {}", id, mine - 1,
            folder_.string());
  if (!make_link(link_path(id, mine))) return lost();
  known = highest_generation(id, mine);
  // The link counts only while the dead claim below it is the one that was judged.
  const auto below = read_claim(link_path(id, mine - 1));
  if (!below || *below != content || known != mine) {
    ::unlink(link_path(id, mine).c_str());
    return lost();
  }
  return {.outcome = Outcome::acquired,
          .claim = Claim(*this, id, mine, owners_below(id, mine)),
          .holder = {},
          .request = {}};
}

std::vector<DeadOwner> ClaimBoard::owners_below(const std::string& id, int generation) const {
  std::vector<DeadOwner> owners;
  for (int below = 0; below < generation; ++below) {
    const auto content = read_claim(link_path(id, below));
    const auto owner = content ? parse_owner(*content) : std::nullopt;
    if (owner && owner->token != owner_.token) owners.push_back(describe_dead(*owner, *content, id, owner_));
  }
  return owners;
}

bool ClaimBoard::is_held(const std::string& id, int generation) const {
  return is_ours(link_path(id, generation)) && highest_generation(id, generation) == generation;
}

void ClaimBoard::release(const std::string& id, int generation) const noexcept {
  // A higher link is another owner's who took this for dead; the chain is theirs to clear away.
  if (!is_held(id, generation)) return;
  // From the bottom: while the own link is there nobody else is owner. What cannot be removed goes stale.
  for (int link = 0; link <= generation; ++link) {
    const std::filesystem::path path = link_path(id, link);
    if (is_claim_file(path)) ::unlink(path.c_str());
  }
}

std::vector<std::string> ClaimBoard::claimed_ids() const {
  constexpr std::string_view mark = ".claim";
  std::vector<std::string> ids;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    // Generations are digits after the mark; an id may hold the mark, so it is the last that counts.
    const std::size_t end = name.rfind(mark);
    if (end != std::string::npos && end > 0) ids.push_back(name.substr(0, end));
  }
  std::ranges::sort(ids);
  const auto repeated = std::ranges::unique(ids);
  ids.erase(repeated.begin(), repeated.end());
  return ids;
}

std::optional<std::string> ClaimBoard::find_silent_partner() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    if (!entry.path().filename().string().starts_with(owner_prefix)) continue;
    const auto content = read_claim(entry.path());
    const auto owner = content ? parse_owner(*content) : std::nullopt;
    if (owner && is_partner(*owner) && watch(owner->token, *content) == Life::dead) return describe(*content);
  }
  return std::nullopt;
}

void ClaimBoard::remove_orphans() const {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    if (!entry.path().filename().string().starts_with(owner_prefix)) continue;
    const auto content = read_claim(entry.path());
    const auto owner = content ? parse_owner(*content) : std::nullopt;
    // A copy that somebody made of an owner's file is theirs.
    if (owner && has_died(*owner, owner_) && entry.path() == owner_file(folder_, owner->token)) {
      ::unlink(entry.path().c_str());
    }
  }
}

}  // namespace wan::store
