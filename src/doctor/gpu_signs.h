#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "doctor/environment.h"
#include "doctor/finding.h"

namespace wan::doctor {

/// What says that there are GPUs for this process, whether or not it sees them: device files of the driver,
/// or Slurm's variables: "/dev/nvidia0", "SLURM_JOB_GPUS=0,1". Empty: nothing says so.
std::string signs_of_gpus(const Environment& environment, const std::filesystem::path& devices = "/dev");

/// FAIL if there are signs and no GPU is visible; nothing otherwise. `reason`: why none is.
std::vector<Finding> check_hidden_gpus(const std::string& signs, int visible_gpus, const std::string& reason);

/// What to do then.
std::string remedy_of_hidden_gpus();

}  // namespace wan::doctor
