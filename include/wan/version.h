#pragma once

#include <string>

namespace wan {

/// The program's version, "MAJOR.MINOR.PATCH", from project() in CMakeLists.txt.
std::string version();

}  // namespace wan
