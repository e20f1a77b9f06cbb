#include "apps/run_communicators.h"

#include "comm/local.h"
#include "comm/mpi.h"

namespace wan::apps {

std::unique_ptr<comm::Communicator> make_control_group(comm::Communicator& world,
                                                       const std::vector<int>& members,
                                                       const std::string& name, double timeout_s) {
  if (world.size() == 1) return comm::make_local(name);
  return comm::make_mpi_group(world, members, name, {.timeout_s = timeout_s});
}

parallel::GroupCommunicators make_group_communicators(comm::Communicator& world, const RunLayout& layout,
                                                      const RunDevice& /*device*/, double timeout_s) {
  const auto make = [&](const std::vector<int>& members, const std::string& name) {
    return make_control_group(world, members, name, timeout_s);
  };
  return parallel::make_group_communicators(layout.guided, layout.unguided, world.rank(), make);
}

}  // namespace wan::apps
