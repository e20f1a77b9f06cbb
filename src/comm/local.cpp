#include "comm/local.h"

#include "comm/dry_run.h"

namespace wan::comm {

// A dry run leaves out the other ranks' data. With one rank there are no other ranks.
std::unique_ptr<Communicator> make_local(std::string name) { return make_dry_run(std::move(name), 0, 1); }

}  // namespace wan::comm
