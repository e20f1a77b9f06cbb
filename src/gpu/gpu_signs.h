#pragma once

#include <filesystem>
#include <string>

#include "core/environment.h"

namespace wan::gpu {

/// The evidence that there are GPUs for this process, whether or not it sees them: "/dev/nvidia0", a device
/// file of the driver, or "SLURM_JOB_GPUS=0,1", a variable of Slurm. Empty if there is none.
std::string signs_of_gpus(const Environment& environment, const std::filesystem::path& devices = "/dev");

/// The remedy where there are signs of GPUs and none is visible.
std::string remedy_of_hidden_gpus();

}  // namespace wan::gpu
