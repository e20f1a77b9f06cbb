#pragma once

#include <map>
#include <string>

namespace wan::apps {

/// The text of --version: the program's version, the libraries that it was built with, and those that it runs
/// on.
std::string version_report();

/// The versions of the libraries that decide numbers and files, by name, for records.
std::map<std::string, std::string> library_versions();

std::string mpi_version();   ///< "Open MPI v4.1.4"
std::string hdf5_version();  ///< "1.10.8"

}  // namespace wan::apps
