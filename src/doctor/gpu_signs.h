#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "doctor/environment.h"
#include "doctor/finding.h"

namespace wan::doctor {

/// Signs that this process has GPUs, whether or not it sees them: the driver's device files, or Slurm's
/// variables. Examples: "/dev/nvidia0", "SLURM_JOB_GPUS=0,1". Empty without a sign.
std::string signs_of_gpus(const Environment& environment, const std::filesystem::path& devices = "/dev");

/// FAIL if there are signs but no GPU is visible; otherwise no finding. `reason`: why no GPU is visible.
std::vector<Finding> check_hidden_gpus(const std::string& signs, int visible_gpus, const std::string& reason);

/// The remedy for that case.
std::string remedy_of_hidden_gpus();

}  // namespace wan::doctor
