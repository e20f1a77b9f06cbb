#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "doctor/finding.h"

namespace wan::doctor {

/// Where a run would write.
struct StorageFacts {
  std::filesystem::path folder;   ///< as given
  std::filesystem::path nearest;  ///< it, or the nearest folder above it that is there
  std::string not_writable;       ///< why not; empty: it is
  std::string no_links;           ///< why hard links cannot be made in it; empty: they can
  std::uint64_t free_bytes = 0;   ///< for this user
};

/// Tries a hard link between two hidden files in the nearest folder, and removes both.
StorageFacts gather_storage(const std::filesystem::path& output_folder);
std::vector<Finding> check_storage(const StorageFacts& facts);

}  // namespace wan::doctor
