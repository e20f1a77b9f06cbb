#pragma once

#include <string>

namespace wan::apps {

/// What --version prints: the program's version and what it was built with and runs on.
std::string version_report();

}  // namespace wan::apps
