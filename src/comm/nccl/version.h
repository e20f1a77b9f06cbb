#pragma once

#include <optional>
#include <string>

namespace wan::comm {

/// Versions as NCCL counts them, 22809 for 2.28.9.
struct NcclVersion {
  int header = 0;    ///< that the program was compiled with
  int library = 0;   ///< that it runs with; 0 if NCCL does not say
  std::string path;  ///< of the library; empty if it cannot be told
};

/// Nothing in a build without CUDA. Never throws.
std::optional<NcclVersion> nccl_version();

}  // namespace wan::comm
