#include "gpu/management_library.h"

#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <fstream>
#include <initializer_list>

namespace wan::gpu {
namespace {

constexpr int success = 0;
constexpr int sm_clock = 1;
constexpr int chip_sensor = 0;
constexpr int no_node = -1;

struct MemoryInfo {
  unsigned long long total, free, used;
};

}  // namespace

/// As NVML's documentation declares them. Null if the library lacks them.
struct ManagementLibrary::Functions {
  using Device = void*;
  int (*init)() = nullptr;
  int (*find)(const char*, Device*) = nullptr;
  int (*memory)(Device, MemoryInfo*) = nullptr;
  int (*power)(Device, unsigned*) = nullptr;
  int (*temperature)(Device, int, unsigned*) = nullptr;
  int (*clock)(Device, int, unsigned*) = nullptr;
  int (*throttle_reasons)(Device, unsigned long long*) = nullptr;
  int (*uuid)(Device, char*, unsigned) = nullptr;
  int (*power_limit)(Device, unsigned*) = nullptr;
  int (*driver)(char*, unsigned) = nullptr;

  explicit Functions(void* library) {
    // Newer drivers have a second name for the reasons, and may drop the first one day.
    load(library, init, {"nvmlInit_v2"});
    load(library, find, {"nvmlDeviceGetHandleByPciBusId_v2"});
    load(library, memory, {"nvmlDeviceGetMemoryInfo"});
    load(library, power, {"nvmlDeviceGetPowerUsage"});
    load(library, temperature, {"nvmlDeviceGetTemperature"});
    load(library, clock, {"nvmlDeviceGetClockInfo"});
    load(library, throttle_reasons,
         {"nvmlDeviceGetCurrentClocksThrottleReasons", "nvmlDeviceGetCurrentClocksEventReasons"});
    load(library, uuid, {"nvmlDeviceGetUUID"});
    load(library, power_limit, {"nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetPowerManagementLimit"});
    load(library, driver, {"nvmlSystemGetDriverVersion"});
  }

 private:
  template <typename Function>
  static void load(void* library, Function& function, std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if (function == nullptr) function = reinterpret_cast<Function>(dlsym(library, name));
    }
  }
};

void ManagementLibrary::Closer::operator()(void* library) const { dlclose(library); }

std::optional<ManagementLibrary> ManagementLibrary::open(const std::string& bus_id) {
  ManagementLibrary library;
  library.library_.reset(dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL));
  if (!library.library_) return std::nullopt;
  auto functions = std::make_shared<const Functions>(library.library_.get());
  if (functions->init == nullptr || functions->find == nullptr) return std::nullopt;
  if (functions->init() != success || functions->find(bus_id.c_str(), &library.device_) != success)
    return std::nullopt;
  library.functions_ = std::move(functions);
  return library;
}

Sample ManagementLibrary::sample(double time_s) const {
  const Functions& nvml = *functions_;
  Sample sample{.time_s = time_s};
  MemoryInfo memory{};
  unsigned value = 0;
  unsigned long long mask = 0;
  if (nvml.memory != nullptr && nvml.memory(device_, &memory) == success)
    sample.used_bytes = static_cast<std::int64_t>(memory.used);
  if (nvml.power != nullptr && nvml.power(device_, &value) == success) sample.power_w = value * 1e-3;
  if (nvml.temperature != nullptr && nvml.temperature(device_, chip_sensor, &value) == success)
    sample.temperature_c = value;
  if (nvml.clock != nullptr && nvml.clock(device_, sm_clock, &value) == success) sample.sm_clock_mhz = value;
  if (nvml.throttle_reasons != nullptr && nvml.throttle_reasons(device_, &mask) == success)
    sample.throttle_reasons = static_cast<std::int64_t>(mask);
  return sample;
}

GpuFacts ManagementLibrary::facts() const {
  const Functions& nvml = *functions_;
  GpuFacts facts;
  std::array<char, 97> text{};  // NVML's largest texts have 96 bytes
  constexpr unsigned most = 96;
  unsigned milliwatts = 0;
  if (nvml.uuid != nullptr && nvml.uuid(device_, text.data(), most) == success) facts.uuid = text.data();
  text = {};
  if (nvml.driver != nullptr && nvml.driver(text.data(), most) == success) facts.driver = text.data();
  if (nvml.power_limit != nullptr && nvml.power_limit(device_, &milliwatts) == success)
    facts.power_limit_w = milliwatts * 1e-3;
  return facts;
}

GpuFacts gpu_facts(const std::string& bus_id) {
  const auto library = ManagementLibrary::open(bus_id);
  return library ? library->facts() : GpuFacts();
}

int numa_node_of_gpu(const std::string& bus_id) {
  std::string name = bus_id;  // CUDA's letters are capital in some versions
  for (char& letter : name) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  std::ifstream file("/sys/bus/pci/devices/" + name + "/numa_node");
  int node = no_node;
  return file >> node ? node : no_node;
}

int numa_node_of_this_thread() {
  unsigned cpu = 0;
  unsigned node = 0;
  if (::syscall(SYS_getcpu, &cpu, &node, nullptr) != 0) return no_node;
  return static_cast<int>(node);
}

}  // namespace wan::gpu
