#pragma once

#include <vector>

#include "core/environment.h"
#include "doctor/finding.h"

namespace wan::doctor {

/// Finds variables of NCCL, CUDA, the tensor library and MPI that are known to slow a run down or to break
/// it.
std::vector<Finding> check_environment(const Environment& environment);

}  // namespace wan::doctor
