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
  std::optional<gpu::DeviceInfo> info;  ///< empty: the GPU could not be opened
  std::string error;                    ///< why the GPU could not be opened
  std::vector<int> unreachable;         ///< GPUs whose memory it cannot access directly
};

struct GpusFacts {
  bool is_built_in = false;  ///< the program has GPU code
  bool has_driver = false;   ///< an NVIDIA driver is loaded on this machine
  std::string code_for;      ///< targets of the compiled kernels, as from gpu::built_architectures()
  gpu::VisibleGpus visible;
  gpu::CudaVersions versions;
  std::vector<GpuFacts> gpus;  ///< the GPUs that were examined
};

/// Examines the GPUs and creates contexts on them. If other ranks share the machine, `only` is the one GPU
/// that this rank will use: contexts on the other GPUs would take their memory.
GpusFacts gather_gpus(std::optional<int> only);

std::vector<Finding> check_gpus(const GpusFacts& facts);

/// FAIL if there are signs of GPUs (gpu::signs_of_gpus()) and none is visible; nothing otherwise. `reason`:
/// why none is visible.
std::vector<Finding> check_hidden_gpus(const std::string& signs, int visible_gpus, const std::string& reason);

}  // namespace wan::doctor
