#pragma once

#include <filesystem>
#include <vector>

#include "doctor/finding.h"
#include "store/output_probe.h"

namespace wan::doctor {

/// Where a run would write.
struct StorageFacts {
  std::filesystem::path folder;  ///< as given
  store::OutputProbe probe;
};

/// Tries what a run does in its output folder, in the nearest folder that is there, and leaves nothing
/// behind.
StorageFacts gather_storage(const std::filesystem::path& output_folder);
std::vector<Finding> check_storage(const StorageFacts& facts);

}  // namespace wan::doctor
