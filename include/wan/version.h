#pragma once

#include <string>

namespace wan {

/// Version of the program, "0.1.0".
std::string version();

}  // namespace wan
