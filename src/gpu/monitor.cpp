#include "gpu/monitor.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace wan::gpu {
namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

struct LibraryDeleter {
  void operator()(void* library) const { dlclose(library); }
};

/// The few functions of NVIDIA's management library (NVML) that the monitor uses, declared as in its
/// documentation. They are loaded by name, so the program also starts where there is no driver.
class ManagementLibrary {
 public:
  using Device = void*;
  struct MemoryInfo {
    unsigned long long total, free, used;
  };

  static std::optional<ManagementLibrary> open(const std::string& bus_id) {
    ManagementLibrary library;
    library.handle_.reset(dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL));
    if (!library.handle_) return std::nullopt;
    const auto init = library.function<int (*)()>("nvmlInit_v2");
    const auto find = library.function<int (*)(const char*, Device*)>("nvmlDeviceGetHandleByPciBusId_v2");
    library.memory_ = library.function<int (*)(Device, MemoryInfo*)>("nvmlDeviceGetMemoryInfo");
    library.power_ = library.function<int (*)(Device, unsigned*)>("nvmlDeviceGetPowerUsage");
    library.temperature_ = library.function<int (*)(Device, int, unsigned*)>("nvmlDeviceGetTemperature");
    if (init == nullptr || find == nullptr || library.memory_ == nullptr) return std::nullopt;
    if (init() != 0 || find(bus_id.c_str(), &library.device_) != 0) return std::nullopt;
    return library;
  }

  std::optional<Sample> sample(double time_s) const {
    MemoryInfo memory{};
    if (memory_(device_, &memory) != 0) return std::nullopt;
    unsigned milliwatts = 0;
    unsigned celsius = 0;
    constexpr int chip_sensor = 0;
    const bool has_power = power_ != nullptr && power_(device_, &milliwatts) == 0;
    const bool has_temperature = temperature_ != nullptr && temperature_(device_, chip_sensor, &celsius) == 0;
    return Sample{.time_s = time_s,
                  .used_bytes = memory.used,
                  .power_w = has_power ? milliwatts * 1e-3 : unknown,
                  .temperature_c = has_temperature ? celsius : unknown};
  }

 private:
  ManagementLibrary() = default;

  template <typename Function>
  Function function(const char* name) const {
    return reinterpret_cast<Function>(dlsym(handle_.get(), name));
  }

  std::unique_ptr<void, LibraryDeleter> handle_;
  Device device_ = nullptr;
  int (*memory_)(Device, MemoryInfo*) = nullptr;
  int (*power_)(Device, unsigned*) = nullptr;
  int (*temperature_)(Device, int, unsigned*) = nullptr;
};

}  // namespace

class Monitor::Thread {
 public:
  Thread(ManagementLibrary library, double period_s, std::function<double()> now_s)
      : library_(std::move(library)),
        period_(std::chrono::duration<double>(period_s)),
        now_s_(std::move(now_s)),
        thread_([this] { run(); }) {}
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;
  ~Thread() {
    {
      const std::scoped_lock lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  std::vector<Sample> take() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(samples_, {});
  }
  std::uint64_t peak_used_bytes() const { return peak_used_bytes_.load(); }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
      lock.unlock();
      const std::optional<Sample> sample = library_.sample(now_s_());
      lock.lock();
      if (sample) {
        samples_.push_back(*sample);
        peak_used_bytes_ = std::max(peak_used_bytes_.load(), sample->used_bytes);
      }
      wake_.wait_for(lock, period_, [this] { return stop_; });
    }
  }

  ManagementLibrary library_;
  std::chrono::duration<double> period_;
  std::function<double()> now_s_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::vector<Sample> samples_;
  std::atomic<std::uint64_t> peak_used_bytes_ = 0;
  std::thread thread_;  ///< last member: the thread uses all members above
};

Monitor::Monitor(const std::string& bus_id, double period_s, std::function<double()> now_s) {
  if (auto library = ManagementLibrary::open(bus_id))
    thread_ = std::make_unique<Thread>(std::move(*library), period_s, std::move(now_s));
}

Monitor::~Monitor() = default;

std::vector<Sample> Monitor::take() { return thread_ ? thread_->take() : std::vector<Sample>(); }

std::uint64_t Monitor::peak_used_bytes() const { return thread_ ? thread_->peak_used_bytes() : 0; }

}  // namespace wan::gpu
