#include "store/owner_watch.h"

#include <algorithm>

#include "store/claim_owner.h"

namespace wan::store {

using std::chrono::steady_clock;

/// An owner beats for all of its claims. So one sighting per owner is enough, however many of its items this
/// process has looked at.
OwnerWatch::Life OwnerWatch::judge(const std::string& link, const std::string& content) {
  const auto owner = parse_owner(content);
  if (owner && has_died(*owner, self_)) return Life::dead;
  // A run lives and dies as one: if one of its processes dies, the launcher ends them all. is_silent() finds
  // a process that is only silent.
  if (owner && is_partner(*owner)) return Life::alive;
  return watch(owner ? owner->token : link, content);
}

bool OwnerWatch::is_silent(const ClaimOwner& partner, const std::string& content) {
  return watch(partner.token, content) == Life::dead;
}

bool OwnerWatch::is_partners(const std::string& content) const {
  const auto owner = parse_owner(content);
  return owner && is_partner(*owner);
}

bool OwnerWatch::is_partner(const ClaimOwner& owner) const {
  return !owner.run.empty() && owner.run == self_.run && owner.token != self_.token;
}

OwnerWatch::Life OwnerWatch::watch(const std::string& key, const std::string& content) {
  const auto now = steady_clock::now();
  const auto [found, is_new] = sightings_.try_emplace(key, Sighting{.content = content, .since = now});
  Sighting& sighting = found->second;
  sighting.since = std::max(sighting.since, presence_.here_since());
  if (!is_new && sighting.content != content) {
    sighting = Sighting{.content = content, .since = now, .has_beaten = true};
  }
  if (now - sighting.since >= stale_after_) return Life::dead;
  return sighting.has_beaten ? Life::alive : Life::undecided;
}

}  // namespace wan::store
