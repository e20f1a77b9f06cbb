#pragma once

#include <filesystem>
#include <vector>

#include "batch/output_probe.h"
#include "doctor/finding.h"

namespace wan::doctor {

/// Where a run would write.
struct StorageFacts {
  std::filesystem::path folder;  ///< as given
  batch::OutputProbe probe;
};

/// Tries what a run does in its output folder, in the nearest folder that is there, and leaves nothing
/// behind.
StorageFacts gather_storage(const std::filesystem::path& output_folder);
std::vector<Finding> check_storage(const StorageFacts& facts);

}  // namespace wan::doctor
