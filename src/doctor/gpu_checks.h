#pragma once

#include <optional>
#include <string>
#include <vector>

#include "doctor/finding.h"
#include "gpu/device.h"

namespace wan::doctor {

/// One GPU as this process sees it.
struct GpuFacts {
  int index = 0;
  std::optional<gpu::DeviceInfo> info;  ///< empty: it could not be opened
  std::string error;                    ///< why
  std::vector<int> unreachable;         ///< GPUs whose memory it cannot reach
};

struct GpusFacts {
  bool is_built_in = false;  ///< the program has GPU code
  bool has_driver = false;   ///< an NVIDIA driver is loaded on this machine
  std::string code_for;      ///< what kernels were compiled for, as gpu::built_architectures()
  gpu::VisibleGpus visible;
  gpu::CudaVersions versions;
  std::vector<GpuFacts> gpus;  ///< those looked at
};

/// `only`: the one GPU that this rank will use, if it is not alone: a context on each of the others would
/// take their memory. Creates contexts.
GpusFacts gather_gpus(std::optional<int> only);

std::vector<Finding> check_gpus(const GpusFacts& facts);

}  // namespace wan::doctor
