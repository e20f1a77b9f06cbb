// A library for LD_PRELOAD that plays to a program machines that are not to be had. It holds the calls of the
// CUDA runtime by which src/gpu asks what there is, and stands before the runtime itself. Used by
// refusals.py; what is played is in the environment:
//
//   WAN_FAKE_GPUS=N        there are N GPUs of 80 GiB, that can be opened but compute nothing
//   WAN_FAKE_COMPUTE=100   they, or the real ones, have compute capability 10.0
//   WAN_FAKE_DRIVER=12020  the driver is older than the runtime
//   WAN_FAKE_SMALL_RANK=R  the GPU of rank R (OMPI_COMM_WORLD_RANK) has half its memory
//   WAN_FAKE_NO_PEERS=1    no GPU reaches the memory of another
//   WAN_FAKE_NCCL_FAILS=R  NCCL fails on rank R, and waits on the others
//   WAN_FAKE_NO_WINDOW=R   NCCL cannot register memory on rank R, or with "all" on any
//
// Everything else goes to the real runtime.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nccl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>

namespace {

constexpr std::size_t fake_bytes = std::size_t{80} << 30;
thread_local int current_device = 0;  // as in the runtime

std::optional<int> setting(const char* name) {
  const char* text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing here sets the environment
  return text != nullptr ? std::optional(std::atoi(text)) : std::nullopt;
}

std::optional<int> fake_gpus() { return setting("WAN_FAKE_GPUS"); }
std::optional<int> fake_driver() { return setting("WAN_FAKE_DRIVER"); }

void play_compute(cudaDeviceProp& properties) {
  const std::optional<int> compute = setting("WAN_FAKE_COMPUTE");
  if (!compute) return;
  properties.major = *compute / 10;
  properties.minor = *compute % 10;
}

/// The function of the same name that this library hides.
template <typename Function>
Function* next(const char* name) {
  void* found = ::dlsym(RTLD_NEXT, name);
  if (found == nullptr) {
    std::fprintf(stderr, "fake_gpus: the program has no %s to hide\n", name);
    std::abort();
  }
  return reinterpret_cast<Function*>(found);
}

}  // namespace

extern "C" {

cudaError_t cudaDriverGetVersion(int* version) {
  if (!fake_driver()) return next<decltype(cudaDriverGetVersion)>("cudaDriverGetVersion")(version);
  *version = *fake_driver();
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  if (fake_driver()) {
    *count = 0;
    return cudaErrorInsufficientDriver;
  }
  if (!fake_gpus()) return next<decltype(cudaGetDeviceCount)>("cudaGetDeviceCount")(count);
  *count = *fake_gpus();
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (!fake_gpus()) return next<decltype(cudaSetDevice)>("cudaSetDevice")(device);
  if (device >= *fake_gpus()) return cudaErrorInvalidDevice;
  current_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  if (!fake_gpus()) return next<decltype(cudaGetDevice)>("cudaGetDevice")(device);
  *device = current_device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (!fake_gpus()) {
    using Function = cudaError_t(cudaDeviceProp*, int);
    const cudaError_t code = next<Function>("cudaGetDeviceProperties")(properties, device);
    if (code == cudaSuccess) play_compute(*properties);
    return code;
  }
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "fake GPU %d", device);
  properties->totalGlobalMem = fake_bytes;
  properties->major = 9;
  properties->multiProcessorCount = 132;
  play_compute(*properties);
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* bus_id, int size, int device) {
  if (!fake_gpus())
    return next<decltype(cudaDeviceGetPCIBusId)>("cudaDeviceGetPCIBusId")(bus_id, size, device);
  std::snprintf(bus_id, static_cast<std::size_t>(size), "0000:%02x:00.0", device + 1);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
  if (fake_gpus()) {
    *free_bytes = *total_bytes = fake_bytes;
  } else {
    using Function = cudaError_t(std::size_t*, std::size_t*);
    const cudaError_t code = next<Function>("cudaMemGetInfo")(free_bytes, total_bytes);
    if (code != cudaSuccess) return code;
  }
  const std::optional<int> small = setting("WAN_FAKE_SMALL_RANK");
  if (small && small == setting("OMPI_COMM_WORLD_RANK")) {
    *free_bytes /= 2;
    *total_bytes /= 2;
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  const bool none = setting("WAN_FAKE_NO_PEERS").value_or(0) != 0;
  if (!none && !fake_gpus())
    return next<decltype(cudaDeviceCanAccessPeer)>("cudaDeviceCanAccessPeer")(can, device, peer);
  *can = none ? 0 : 1;
  return cudaSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  const std::optional<int> failing = setting("WAN_FAKE_NCCL_FAILS");
  if (!failing) {
    return next<decltype(ncclCommInitRankConfig)>("ncclCommInitRankConfig")(comm, ranks, id, rank, config);
  }
  while (failing != setting("OMPI_COMM_WORLD_RANK")) ::pause();
  return ncclSystemError;
}

ncclResult_t ncclCommWindowRegister(ncclComm_t comm, void* memory, size_t bytes, ncclWindow_t* window,
                                    int flags) {
  const char* text = std::getenv("WAN_FAKE_NO_WINDOW");  // NOLINT(concurrency-mt-unsafe): likewise
  if (text != nullptr &&
      (std::string_view(text) == "all" || setting("WAN_FAKE_NO_WINDOW") == setting("OMPI_COMM_WORLD_RANK"))) {
    return ncclSystemError;
  }
  return next<decltype(ncclCommWindowRegister)>("ncclCommWindowRegister")(comm, memory, bytes, window, flags);
}

}  // extern "C"
