#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/given_parts.h"
#include "doctor/finding.h"

namespace wan::doctor {

/// Checks every file and tensor of a checkpoint from its headers alone. Returns a finding for each part, with
/// its size. `option`: the option by which the user names the folder; the remedy names it. `parts`:
/// those that are named one by one.
std::vector<Finding> check_checkpoint(const std::filesystem::path& root, const std::string& option = {},
                                      const checkpoint::GivenParts& parts = {});

}  // namespace wan::doctor
