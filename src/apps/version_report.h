#pragma once

#include <map>
#include <string>

namespace wan::apps {

/// What --version prints: the program's version and what it was built with and runs on.
std::string version_report();

/// Of the libraries that decide numbers and files, by name: for records.
std::map<std::string, std::string> library_versions();

}  // namespace wan::apps
