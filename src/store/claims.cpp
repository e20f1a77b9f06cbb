#include "store/claims.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <utility>

#include "core/check.h"
#include "core/file.h"
#include "core/strings.h"
#include "store/claim_heartbeat.h"
#include "store/claim_link.h"
#include "store/claim_owner.h"
#include "store/owner_progress.h"
#include "store/owner_watch.h"

namespace wan::store {
namespace {

constexpr int max_generation = 1000;  // bounds the search if somebody tampers with the folder
constexpr int largest_gap = 4;

}  // namespace

Claim::Claim(const Claims& claims, std::string id, int generation, std::vector<DeadOwner> dead_owners)
    : claims_(&claims), id_(std::move(id)), generation_(generation), dead_owners_(std::move(dead_owners)) {}

Claim::Claim(Claim&& other) noexcept
    : claims_(std::exchange(other.claims_, nullptr)),
      id_(std::move(other.id_)),
      generation_(other.generation_),
      dead_owners_(std::move(other.dead_owners_)) {}

Claim::~Claim() {
  if (claims_ != nullptr) claims_->release(id_, generation_);
}

std::vector<std::string> Claim::dead_tokens() const {
  std::vector<std::string> tokens;
  tokens.reserve(dead_owners_.size());
  for (const DeadOwner& owner : dead_owners_) tokens.push_back(owner.token);
  return tokens;
}

bool Claim::is_held() const { return claims_->is_held(id_, generation_); }

Claims::Claims(std::filesystem::path folder, ClaimOwner owner, ClaimTiming timing)
    : folder_(std::move(folder)), owner_(std::move(owner)) {
  remove_orphans();
  held_at_start_ = claimed_ids();
  heartbeat_ =
      std::make_unique<ClaimHeartbeat>(owner_file(folder_, owner_.token), owner_text(owner_), timing);
  watch_ = std::make_unique<OwnerWatch>(owner_, heartbeat_->presence(), timing);
  progress_ = std::make_unique<OwnerProgress>(*heartbeat_);
}

Claims::~Claims() {
  try {
    remove_orphans();
  } catch (const std::exception&) {
    // The next owner removes those that cannot be listed now.
    return;
  }
}

void Claims::show_progress(const std::optional<ClaimProgress>& progress) const noexcept {
  progress_->show(progress);
}

void Claims::show_writing(int items) const noexcept { progress_->show_writing(items); }

void Claims::note_stop() const noexcept { progress_->note_stop(); }

std::filesystem::path Claims::link_path(const std::string& id, int generation) const {
  return folder_ /
         (generation == 0 ? fmt::format("{}.claim", id) : fmt::format("{}.claim.{}", id, generation));
}

/// Compares the inode, or else the token in the file: on sshfs and similar file systems a link has an inode
/// number of its own, and so has a copy everywhere.
bool Claims::is_ours(const std::filesystem::path& link) const {
  struct stat status {};
  if (::lstat(link.c_str(), &status) != 0) return false;
  if (heartbeat_->is_file(status)) return true;
  const auto content = read_claim(link);
  const auto owner = content ? parse_owner(*content) : std::nullopt;
  return owner && owner->token == owner_.token;
}

/// Only one of many processes succeeds.
bool Claims::make_link(const std::filesystem::path& link) const {
  switch (make_claim_link(heartbeat_->path(), link)) {
    case ClaimLink::made:
      return true;
    case ClaimLink::taken:
      // A network file system may have made the link and lost the answer. The repeated call then finds our
      // own file.
      return is_ours(link);
  }
  return false;
}

/// Returns -1 if nobody has claimed the item. A crash in the middle of a release leaves gaps in the chain, so
/// that a link far above a gap is only found from below the gap: `known` is the highest one that the caller
/// knows.
int Claims::highest_generation(const std::string& id, int known) const {
  int highest = -1;
  for (int generation = 0;
       generation <= std::max(highest, known) + largest_gap && generation <= max_generation; ++generation) {
    if (is_there(link_path(id, generation))) highest = generation;
  }
  return highest;
}

/// Call it before making a link.
void Claims::tell(const std::function<std::string()>& request) const {
  const std::string text = request ? request() : std::string();
  WAN_CHECK(text.size() <= request_columns, "a request of {} characters", text.size());
  heartbeat_->write_request(text);
}

ClaimAttempt Claims::try_claim(const std::string& id, const std::function<std::string()>& request) {
  using Outcome = ClaimAttempt::Outcome;
  int known = -1;  // the highest generation that was seen from a link of this owner
  for (int tries = 0; tries < 3; ++tries) {
    const int generation = highest_generation(id, known);
    if (generation < 0) {
      tell(request);
      if (!make_link(link_path(id, 0))) continue;  // another process was faster: look at its link
      known = highest_generation(id, 0);
      if (known == 0 && is_ours(link_path(id, 0))) {
        return {.outcome = Outcome::acquired, .claim = Claim(*this, id, 0, {}), .holder = {}, .request = {}};
      }
      // Either another owner took the item over, and the lower links of its chain were just released; or a
      // crash in the middle of a release left a dead owner's link. Look at it.
      ::unlink(link_path(id, 0).c_str());
      continue;
    }
    const std::filesystem::path link = link_path(id, generation);
    const auto content = read_claim(link);
    if (!content) continue;  // released a moment ago
    const OwnerWatch::Life life = watch_->judge(link.filename().string(), *content);
    if (life == OwnerWatch::Life::dead) {
      tell(request);
      const int mine = generation + 1;
      ClaimAttempt attempt = take_over(id, mine, *content, known);
      if (attempt.claim || known <= mine) return attempt;
      continue;  // there are links beyond a gap: look at them
    }
    if (!is_there(link)) continue;  // released meanwhile: the request line may be about another item already
    const bool is_partners = watch_->is_partners(*content);
    return {.outcome = life == OwnerWatch::Life::alive ? Outcome::alive : Outcome::undecided,
            .claim = {},
            .holder = describe(*content),
            .request = is_partners ? std::string() : request_for(*content, id),
            .may_be_given_back = is_partners && !is_at_work(*content, id)};
  }
  return {.outcome = Outcome::undecided, .claim = {}, .holder = "several at once", .request = {}};
}

/// `content` is the content of the dead claim below generation `mine`. If there are links above `mine`,
/// `known` becomes the highest of them.
ClaimAttempt Claims::take_over(const std::string& id, int mine, const std::string& content, int& known) {
  using Outcome = ClaimAttempt::Outcome;
  const auto lost = [] {
    return ClaimAttempt{.outcome = Outcome::undecided,
                        .claim = {},
                        .holder = "another process that took it over",
                        .request = {}};
  };
  WAN_CHECK(mine <= max_generation, "{} was taken over {} times; remove its claims from {}", id, mine - 1,
            folder_.string());
  if (!make_link(link_path(id, mine))) return lost();
  known = highest_generation(id, mine);
  // The link counts only if the dead claim below it is still the one that was judged.
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

std::vector<DeadOwner> Claims::owners_below(const std::string& id, int generation) const {
  std::vector<DeadOwner> owners;
  for (int below = 0; below < generation; ++below) {
    const auto content = read_claim(link_path(id, below));
    const auto owner = content ? parse_owner(*content) : std::nullopt;
    if (owner && owner->token != owner_.token) owners.push_back(describe_dead(*owner, *content, id, owner_));
  }
  return owners;
}

bool Claims::is_held(const std::string& id, int generation) const {
  return is_ours(link_path(id, generation)) && highest_generation(id, generation) == generation;
}

void Claims::release(const std::string& id, int generation) const noexcept {
  // A higher link belongs to an owner that took this one for dead. That owner clears the chain away.
  if (!is_held(id, generation)) return;
  // Goes upwards: while the own link is there, nobody else is the owner. A link that cannot be removed
  // becomes stale.
  for (int link = 0; link <= generation; ++link) {
    const std::filesystem::path path = link_path(id, link);
    if (is_claim_file(path)) ::unlink(path.c_str());
  }
}

std::vector<std::string> Claims::claimed_ids() const {
  constexpr std::string_view mark = ".claim";
  std::vector<std::string> ids;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    // Digits after the mark are the generation. An id may hold the mark, so the last one counts.
    const std::size_t end = name.rfind(mark);
    if (end != std::string::npos && end > 0) ids.push_back(name.substr(0, end));
  }
  std::ranges::sort(ids);
  // NOLINTNEXTLINE(modernize-use-ranges): Clang 14 refuses the subrange of std::ranges
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

std::optional<std::string> Claims::find_silent_partner() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    if (!entry.path().filename().string().starts_with(owner_prefix)) continue;
    const auto content = read_claim(entry.path());
    const auto owner = content ? parse_owner(*content) : std::nullopt;
    if (owner && watch_->is_partner(*owner) && watch_->is_silent(*owner, *content)) return describe(*content);
  }
  return std::nullopt;
}

/// A claim that is a copy does not tell what its owner was at. So the owner's file stays as long as the
/// claim.
void Claims::remove_orphans() const {
  std::set<std::string> orphans;  // tokens
  std::set<std::string> copied;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    if (!entry.path().filename().string().starts_with(owner_prefix)) {
      if (auto token = copied_token(entry.path())) copied.insert(std::move(*token));
      continue;
    }
    const auto content = read_claim(entry.path());
    const auto owner = content ? parse_owner(*content) : std::nullopt;
    // A copy that somebody made of an owner's file belongs to that person.
    if (owner && has_died(*owner, owner_) && entry.path() == owner_file(folder_, owner->token))
      orphans.insert(owner->token);
  }
  for (const std::string& token : orphans) {
    if (!copied.contains(token)) ::unlink(owner_file(folder_, token).c_str());
  }
}

}  // namespace wan::store
