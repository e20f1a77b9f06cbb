#include "launch/control_groups.h"

#include <numeric>

#include "comm/local.h"
#include "comm/mpi/mpi.h"

namespace wan::launch {
namespace {

// A rank that dies while others wait is the launcher's to notice.
constexpr double no_timeout_s = 1e9;

}  // namespace

ControlGroups make_control_groups(comm::Communicator& world, const comm::GridShape& shape) {
  std::vector<int> everyone(static_cast<std::size_t>(world.size()));
  std::iota(everyone.begin(), everyone.end(), 0);
  ControlGroups groups;
  groups.meeting = make_control_group(world, everyone, "meeting", no_timeout_s);
  groups.orders = make_control_group(world, comm::group_members(shape, world.rank()), "orders", no_timeout_s);
  if (world.size() > shape.group_size) groups.mailbox = comm::make_mpi_mailbox(world);
  return groups;
}

std::unique_ptr<comm::Communicator> make_control_group(comm::Communicator& world,
                                                       const std::vector<int>& members,
                                                       const std::string& name, double timeout_s) {
  if (world.size() == 1) return comm::make_local(name);
  return comm::make_mpi_group(world, members, name, {.timeout_s = timeout_s});
}

}  // namespace wan::launch
