#include "wan/version.h"

namespace wan {

std::string version() { return WAN_VERSION; }

}  // namespace wan
