#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>

namespace wan::gpu {

/// Readings of one GPU at one moment. NaN and -1 mean that the driver does not tell.
struct Sample {
  double time_s = 0;
  std::int64_t used_bytes = -1;
  double power_w = std::numeric_limits<double>::quiet_NaN();
  double temperature_c = std::numeric_limits<double>::quiet_NaN();
  double sm_clock_mhz = std::numeric_limits<double>::quiet_NaN();
  std::int64_t throttle_reasons = -1;  ///< bits of nvmlClocksThrottleReasons
};

/// Facts about one GPU that do not change while a program runs.
struct GpuFacts {
  std::string uuid = "unknown";
  std::string driver = "unknown";  ///< version of the driver
  double power_limit_w = std::numeric_limits<double>::quiet_NaN();
};

/// One GPU as NVIDIA's management library (NVML) sees it. The library is loaded by name at run time, so the
/// program also starts where there is no driver. All of its functions but three may be missing.
class ManagementLibrary {
 public:
  /// Nothing if the library, the GPU, or a function that the others need is missing. `bus_id`: see
  /// DeviceInfo.
  static std::optional<ManagementLibrary> open(const std::string& bus_id);

  Sample sample(double time_s) const;
  GpuFacts facts() const;

 private:
  struct Functions;
  struct Closer {
    void operator()(void* library) const;
  };
  ManagementLibrary() = default;

  std::unique_ptr<void, Closer> library_;  ///< outlives the functions
  std::shared_ptr<const Functions> functions_;
  void* device_ = nullptr;
};

/// The facts about the GPU with this bus id; "unknown" and NaN where NVML does not tell.
GpuFacts gpu_facts(const std::string& bus_id);

/// The NUMA node of the GPU with this bus id; -1 if the kernel does not tell.
int numa_node_of_gpu(const std::string& bus_id);

/// The NUMA node of the core that this thread runs on; -1 if the kernel does not tell.
int numa_node_of_this_thread();

}  // namespace wan::gpu
