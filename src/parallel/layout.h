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

/// The names of the wishes in messages. A program puts the names of its options here.
struct LayoutWishNames {
  std::string_view group_size = "group size";
  std::string_view cfg_size = "cfg size";
  std::string_view ulysses_size = "ulysses size";
};

/// The user's choices. The planner chooses empty fields.
struct LayoutWishes {
  std::optional<int> group_size = {};
  std::optional<int> cfg_size = {};
  std::optional<int> ulysses_size = {};
  Objective objective = Objective::latency;
  LayoutWishNames names = {};
};

/// Every layout that the ranks and the model's heads allow, ordered by group size, then cfg. `guided`:
/// whether there are two passes, which can run on different ranks.
std::vector<comm::GridShape> possible_grids(int world_size, std::int64_t heads, bool guided);

/// The grids that satisfy the wishes, best first. `latency` prefers the largest groups, `throughput` the
/// smallest. Among groups of one size, splitting the passes of guidance precedes splitting the sequence.
/// Throws as choose_grid() does.
std::vector<comm::GridShape> granted_grids(const LayoutWishes& wishes, int world_size, std::int64_t heads,
                                           bool guided);

/// Divides a world of ranks into groups of cfg x ulysses for requests with guidance. Explicit wishes are
/// followed, or refused with a UsageError that lists what works. The other numbers come from the first of
/// granted_grids().
comm::GridShape choose_grid(const LayoutWishes& wishes, int world_size, std::int64_t heads, bool guided);

/// The same group for a request without an unconditional pass. It has no cfg split. If there are more ranks
/// than heads, some ranks may compute the same as others (copies).
comm::GridShape unguided_shape(const comm::GridShape& shape, const LayoutWishes& wishes, std::int64_t heads);

/// "cfg2 x ulysses2", with " x 2 copies" if ranks repeat work.
std::string describe(const comm::GridShape& shape);

/// The purpose of a communicator of a group or a team.
enum class Role {
  group,    ///< control, latents, images, frames: messages on the host
  fsdp,     ///< gathers of sharded weights
  vae,      ///< border rows and gathers of frames
  ulysses,  ///< tokens against heads around attention
  cfg,      ///< the predictions of the two passes of guidance
};

/// "group", "ulysses", ...: the communicator's name in messages and traces.
const char* to_string(Role role);

/// Makes the communicator of a set of world ranks. All ranks of the world call it in the same order.
using CommunicatorFactory =
    std::function<std::unique_ptr<comm::Communicator>(const std::vector<int>& members, Role role)>;

/// The communicators over which a request's tokens and passes are divided.
struct PassCommunicators {
  comm::GridShape shape;
  comm::GridPosition position;
  std::unique_ptr<comm::Communicator> ulysses;
  std::unique_ptr<comm::Communicator> cfg;
};

/// All communicators of one group, or of a team of groups that make one video together.
struct GroupCommunicators {
  std::unique_ptr<comm::Communicator> group;  ///< control, latents, images, frames
  std::shared_ptr<comm::Communicator> fsdp;   ///< weight gathers over the shard group, also in a team
  std::unique_ptr<comm::Communicator> vae;    ///< halos and frame gathers
  PassCommunicators guided;
  PassCommunicators unguided;
  int world_rank = 0;

  const PassCommunicators& passes(bool is_guided) const { return is_guided ? guided : unguided; }
  /// Bytes that this rank has sent to others so far, over all communicators.
  std::uint64_t sent_bytes() const;
};

/// The communicators of one group. Collective over the same ranks as `make`.
GroupCommunicators make_group_communicators(const comm::GridShape& guided, const comm::GridShape& unguided,
                                            int world_rank, const CommunicatorFactory& make);

/// The communicators of a team. Its ranks are those of `make`'s parent, in order; this rank is `team_rank`.
/// The weights stay sharded over the group of `base`.
GroupCommunicators make_team_communicators(const GroupCommunicators& base, const comm::GridShape& guided,
                                           const comm::GridShape& unguided, int team_rank,
                                           const CommunicatorFactory& make);

/// The shapes of a team for requests with and without guidance.
struct TeamShape {
  comm::GridShape guided;
  comm::GridShape unguided;
};
/// The shapes for a team of `ranks` ranks. An even number has the passes of guidance on two halves. Nothing
/// if more ranks than heads would share a sequence.
std::optional<TeamShape> choose_team_shape(int ranks, std::int64_t heads);

}  // namespace wan::parallel
