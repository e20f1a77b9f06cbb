#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "doctor/finding.h"
#include "store/output_probe.h"

namespace wan::doctor {

/// The place where a run would write.
struct StorageFacts {
  std::filesystem::path folder;  ///< the path as the user gave it
  store::OutputProbe probe;
  std::string option = "output folder";  ///< what the user names the folder by
};

/// Tries a run's file operations in the output folder, or in its nearest existing parent. Leaves nothing
/// behind.
StorageFacts gather_storage(const std::filesystem::path& output_folder, std::string option = "output folder");
std::vector<Finding> check_storage(const StorageFacts& facts);

}  // namespace wan::doctor
