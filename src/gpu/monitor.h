#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gpu/management_library.h"

namespace wan::gpu {

/// Samples a GPU's memory, power, temperature and clock from its own thread. It uses the driver's management
/// library (NVML), loaded at run time. Without that library there are no samples.
class Monitor {
 public:
  /// `bus_id`: the GPU's (see DeviceInfo). `now_s`: the clock of the samples' times; the thread calls it.
  Monitor(const std::string& bus_id, double period_s, std::function<double()> now_s);
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;
  ~Monitor();

  /// Returns the samples since the last call.
  std::vector<Sample> take();
  /// The most memory in use that this monitor has seen.
  std::uint64_t peak_used_bytes() const;

 private:
  class Thread;
  std::unique_ptr<Thread> thread_;
};

}  // namespace wan::gpu
