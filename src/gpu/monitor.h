#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace wan::gpu {

/// A GPU at a moment.
struct Sample {
  double time_s = 0;
  std::uint64_t used_bytes = 0;
  double power_w = 0;        ///< NaN where the driver does not tell
  double temperature_c = 0;  ///< NaN where the driver does not tell
};

/// Samples a GPU's memory, power and temperature from a thread of its own through the driver's management
/// library, which is loaded at run time. Where that library is absent there are no samples.
class Monitor {
 public:
  /// `bus_id`: of the GPU (DeviceInfo). `now_s`: the clock of the samples' times, called from the thread.
  Monitor(const std::string& bus_id, double period_s, std::function<double()> now_s);
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;
  ~Monitor();

  /// The samples since the last call.
  std::vector<Sample> take();
  /// The most memory seen in use since this monitor was made.
  std::uint64_t peak_used_bytes() const;

 private:
  class Thread;
  std::unique_ptr<Thread> thread_;
};

}  // namespace wan::gpu
