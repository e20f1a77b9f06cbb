#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "comm/communicator.h"
#include "comm/rank_grid.h"

namespace wan::parallel {

enum class Objective { latency, throughput };

/// What messages call the wishes. A program puts the names of its options here.
struct LayoutWishNames {
  std::string_view group_size = "group size";
  std::string_view cfg_size = "cfg size";
  std::string_view ulysses_size = "ulysses size";
};

/// What the user asked for; empty fields are the planner's to choose.
struct LayoutWishes {
  std::optional<int> group_size = {};
  std::optional<int> cfg_size = {};
  std::optional<int> ulysses_size = {};
  Objective objective = Objective::latency;
  LayoutWishNames names = {};
};

/// Every layout that the ranks and the model's heads allow, by group size, then cfg. `guided`: whether there
/// are two passes to put on ranks of their own.
std::vector<comm::GridShape> possible_grids(int world_size, std::int64_t heads, bool guided);

/// Those of them that grant the wishes, the one to prefer first: the largest groups under `latency`, the
/// smallest under `throughput`, and among groups of a size the split over the passes of guidance before the
/// split over the sequence. Throws as choose_grid() does.
std::vector<comm::GridShape> granted_grids(const LayoutWishes& wishes, int world_size, std::int64_t heads,
                                           bool guided);

/// Lays a world of ranks out as groups of cfg x ulysses for requests with guidance. Explicit wishes are
/// obeyed or refused with a UsageError that lists what works; the rest is the first of granted_grids().
comm::GridShape choose_grid(const LayoutWishes& wishes, int world_size, std::int64_t heads, bool guided);

/// The same group for a request without an unconditional pass: no cfg split; ranks that the heads do not
/// divide over compute the same as others (copies).
comm::GridShape unguided_shape(const comm::GridShape& shape, const LayoutWishes& wishes, std::int64_t heads);

/// "cfg2 x ulysses2", and " x 2 copies" where ranks repeat work.
std::string describe(const comm::GridShape& shape);

/// What a communicator of a group or a team is for.
enum class Role {
  group,    ///< control, latents, images, frames: messages on the host
  fsdp,     ///< gathers of sharded weights
  vae,      ///< border rows and gathers of frames
  ulysses,  ///< tokens against heads around attention
  cfg,      ///< the predictions of the two passes of guidance
};

/// "group", "ulysses", ...: the communicator's name in messages and traces.
const char* to_string(Role role);

/// Makes the communicator of a set of world ranks; called by all ranks of the world in the same order.
using CommunicatorFactory =
    std::function<std::unique_ptr<comm::Communicator>(const std::vector<int>& members, Role role)>;

/// The communicators over which one request's tokens and passes are divided.
struct PassCommunicators {
  comm::GridShape shape;
  comm::GridPosition position;
  std::unique_ptr<comm::Communicator> ulysses;
  std::unique_ptr<comm::Communicator> cfg;
};

/// All communicators of one group, or of a team of groups that make one video together.
struct GroupCommunicators {
  std::unique_ptr<comm::Communicator> group;  ///< control, latents, images, frames
  std::shared_ptr<comm::Communicator> fsdp;   ///< weight gathers; of the shard group alone, in every team
  std::unique_ptr<comm::Communicator> vae;    ///< halos and frame gathers
  PassCommunicators guided;
  PassCommunicators unguided;
  int world_rank = 0;

  const PassCommunicators& passes(bool is_guided) const { return is_guided ? guided : unguided; }
  /// Bytes this rank has handed to others so far, over all communicators.
  std::uint64_t sent_bytes() const;
};

/// Of one group. Collective over the ranks that `make` is collective over.
GroupCommunicators make_group_communicators(const comm::GridShape& guided, const comm::GridShape& unguided,
                                            int world_rank, const CommunicatorFactory& make);

/// Of a team whose ranks are those of `make`'s parent, in order; this one is `team_rank`. The weights stay
/// sharded over `base`'s group.
GroupCommunicators make_team_communicators(const GroupCommunicators& base, const comm::GridShape& guided,
                                           const comm::GridShape& unguided, int team_rank,
                                           const CommunicatorFactory& make);

/// The shapes of a team for requests with and without guidance.
struct TeamShape {
  comm::GridShape guided;
  comm::GridShape unguided;
};
/// Of `ranks` ranks, an even number; nothing if the heads do not divide over each half.
std::optional<TeamShape> choose_team_shape(int ranks, std::int64_t heads);

}  // namespace wan::parallel
