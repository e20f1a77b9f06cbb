// A stand-in for NVIDIA's management library: the GPU at 0000:01:00.0 tells everything, the one at
// 0000:02:00.0 refuses every question (NVML_ERROR_NOT_SUPPORTED), and there is no other. It lacks the newer
// name of the throttle reasons.
#include <cstring>

namespace {

constexpr int success = 0;
constexpr int not_supported = 3;
constexpr int not_found = 6;

int talkative = 0;
int silent = 0;

template <typename Value>
int answer(void* device, Value* out, Value value) {
  if (device != &talkative) return not_supported;
  *out = value;
  return success;
}

int answer_text(bool knows, char* out, unsigned bytes, const char* text) {
  if (!knows || std::strlen(text) >= bytes) return not_supported;
  std::strcpy(out, text);
  return success;
}

}  // namespace

extern "C" {

struct Memory {
  unsigned long long total, free, used;
};

int nvmlInit_v2() { return success; }

int nvmlDeviceGetHandleByPciBusId_v2(const char* bus_id, void** device) {
  if (std::strcmp(bus_id, "0000:01:00.0") == 0) {
    *device = &talkative;
  } else if (std::strcmp(bus_id, "0000:02:00.0") == 0) {
    *device = &silent;
  } else {
    return not_found;
  }
  return success;
}

int nvmlDeviceGetMemoryInfo(void* device, Memory* memory) {
  return answer(device, memory, Memory{.total = 1000, .free = 877, .used = 123});
}
int nvmlDeviceGetPowerUsage(void* device, unsigned* milliwatts) {
  return answer(device, milliwatts, 345500U);
}
int nvmlDeviceGetTemperature(void* device, int sensor, unsigned* celsius) {
  return sensor == 0 ? answer(device, celsius, 61U) : not_supported;
}
int nvmlDeviceGetClockInfo(void* device, int clock, unsigned* megahertz) {
  constexpr int sm = 1;
  return clock == sm ? answer(device, megahertz, 1980U) : not_supported;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void* device, unsigned long long* reasons) {
  return answer(device, reasons, 0x24ULL);
}
int nvmlDeviceGetUUID(void* device, char* text, unsigned bytes) {
  return answer_text(device == &talkative, text, bytes, "GPU-5f3c");
}
int nvmlDeviceGetEnforcedPowerLimit(void* device, unsigned* milliwatts) {
  return answer(device, milliwatts, 700000U);
}
int nvmlSystemGetDriverVersion(char* text, unsigned bytes) {
  return answer_text(true, text, bytes, "580.82");
}

}  // extern "C"
