#pragma once

#include <filesystem>
#include <vector>

#include "doctor/finding.h"

namespace wan::doctor {

/// Checks every file and tensor of a checkpoint from its headers alone. Returns a finding for each part, with
/// its size.
std::vector<Finding> check_checkpoint(const std::filesystem::path& root);

}  // namespace wan::doctor
