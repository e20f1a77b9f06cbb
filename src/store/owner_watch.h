#pragma once

#include <chrono>
#include <map>
#include <string>

#include "store/claim_heartbeat.h"
#include "store/claims.h"

namespace wan::store {

/// Judges whether other owners are alive, by how the contents of their files change. For one thread.
class OwnerWatch {
 public:
  enum class Life { dead, alive, undecided };

  /// `self` and `presence` must outlive the watch.
  OwnerWatch(const ClaimOwner& self, const Presence& presence, ClaimTiming timing)
      : self_(self), presence_(presence), stale_after_(timing.stale_after) {}

  /// `content`: the content of the claim `link`.
  Life judge(const std::string& link, const std::string& content);
  /// Whether another owner of the same run has been silent for too long. Until then it counts as alive.
  /// `content`: the content of its file.
  bool is_silent(const ClaimOwner& partner, const std::string& content);

  /// Whether this is another owner of the same run.
  bool is_partner(const ClaimOwner& owner) const;
  /// The same for the content of an owner's file.
  bool is_partners(const std::string& content) const;

 private:
  struct Sighting {
    std::string content;
    std::chrono::steady_clock::time_point since;
    bool has_beaten = false;
  };
  Life watch(const std::string& key, const std::string& content);

  const ClaimOwner& self_;
  const Presence& presence_;
  std::chrono::milliseconds stale_after_;
  std::map<std::string, Sighting>
      sightings_;  ///< by the owner's token, or by link if the content names no owner
};

}  // namespace wan::store
