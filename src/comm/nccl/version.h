#pragma once

#include <optional>
#include <string>

namespace wan::comm {

/// Versions as NCCL counts them, 22809 for 2.28.9.
struct NcclVersion {
  int header = 0;    ///< the version at compile time
  int library = 0;   ///< the version at run time; 0 if NCCL does not say
  std::string path;  ///< path of the library; empty if it is unknown
};

/// Returns nothing in a build without CUDA. Never throws.
std::optional<NcclVersion> nccl_version();

}  // namespace wan::comm
