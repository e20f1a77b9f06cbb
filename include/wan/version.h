#pragma once

#include <string>

namespace wan {

/// Version of the program, "MAJOR.MINOR.PATCH": that of project() in CMakeLists.txt.
std::string version();

}  // namespace wan
