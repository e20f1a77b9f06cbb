#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "doctor/finding.h"

namespace wan::doctor {

/// Checks every file and tensor of a checkpoint from its headers alone. Returns a finding for each part, with
/// its size. `option`: the option by which the user names the folder; the remedy names it.
std::vector<Finding> check_checkpoint(const std::filesystem::path& root, const std::string& option = {});

}  // namespace wan::doctor
