#include "gpu/device.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <array>

#include "gpu/architectures.h"
#include "gpu/cuda_check.h"

namespace wan::gpu {
namespace {

/// Turns 13000 into "13.0".
std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

/// Versions, for the message about a driver that is too old. Never throws.
std::string driver_and_runtime() {
  const auto [driver, runtime] = cuda_versions();
  if (driver == 0) return "no NVIDIA driver answers on this machine";
  return fmt::format("the driver supports CUDA {}, LibTorch needs {}", version_text(driver),
                     version_text(runtime));
}

}  // namespace

void check_cuda(cudaError_t code, const char* call, const char* file, int line) {
  if (code == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // clears an error that is not sticky
  fail("{}:{}: {} failed: {} ({})", file, line, call, cudaGetErrorString(code), cudaGetErrorName(code));
}

bool is_built_in() { return true; }

std::string_view built_architectures() { return WAN_BUILT_ARCHITECTURES; }

CudaVersions cuda_versions() {
  CudaVersions versions;
  static_cast<void>(cudaDriverGetVersion(&versions.driver));
  static_cast<void>(cudaRuntimeGetVersion(&versions.runtime));
  return versions;
}

VisibleGpus visible_gpus() {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code == cudaSuccess && count > 0) return {.count = count, .reason = {}};
  static_cast<void>(cudaGetLastError());
  if (code == cudaErrorInsufficientDriver) {  // CUDA returns this code also without any driver
    if (cuda_versions().driver == 0) return {.count = 0, .reason = driver_and_runtime()};
    return {.count = 0, .reason = driver_and_runtime() + ": update the driver", .driver_too_old = true};
  }
  if (code == cudaSuccess || code == cudaErrorNoDevice)
    return {.count = 0, .reason = "the driver shows no GPU to this process; look at CUDA_VISIBLE_DEVICES"};
  return {.count = 0, .reason = fmt::format("{} ({})", cudaGetErrorString(code), driver_and_runtime())};
}

DeviceInfo open_device(int index) {
  const auto require = [index](cudaError_t code, const char* doing) {
    if (code == cudaSuccess) return;
    static_cast<void>(cudaGetLastError());
    fail<UsageError>("GPU {} cannot be used: {}: {} ({})", index, doing, cudaGetErrorString(code),
                     driver_and_runtime());
  };
  require(cudaSetDevice(index), "selecting it");
  cudaDeviceProp properties{};
  require(cudaGetDeviceProperties(&properties, index), "reading its properties");
  std::array<char, 32> bus_id{};
  require(cudaDeviceGetPCIBusId(bus_id.data(), static_cast<int>(bus_id.size()), index), "reading its bus id");
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  require(cudaMemGetInfo(&free_bytes, &total_bytes), "creating a context on it");
  at::globalContext().lazyInitDevice(at::kCUDA);  // the allocator, which memory_use() asks
  return {.index = index,
          .name = properties.name,
          .bus_id = bus_id.data(),
          .total_bytes = total_bytes,
          .free_bytes = free_bytes,
          .compute_major = properties.major,
          .compute_minor = properties.minor,
          .multiprocessors = properties.multiProcessorCount};
}

void require_code(const DeviceInfo& device) {
  if (device.compute_major < 8) {
    fail<UsageError>(
        "GPU {} ({}) has compute capability {}.{}; 8.0 or newer is needed (A100, A40, RTX 4090, H100 ...)",
        device.index, device.name, device.compute_major, device.compute_minor);
  }
  if (has_code_for(built_architectures(), device.compute_major, device.compute_minor)) return;
  fail<UsageError>(
      "GPU {} ({}) has compute capability {}.{}; this build has code for {} only. Build it for this GPU too "
      "(add {}{}-real to CMake's WAN_CUDA_ARCHITECTURES), choose another GPU (CUDA_VISIBLE_DEVICES), or "
      "compute on the CPU",
      device.index, device.name, device.compute_major, device.compute_minor,
      describe_architectures(built_architectures()), device.compute_major, device.compute_minor);
}

bool can_access_peer(int index, int peer) {
  int can = 0;
  WAN_CUDA_CHECK(cudaDeviceCanAccessPeer(&can, index, peer));
  return can != 0;
}

void forbid_tf32_products() { at::globalContext().setAllowTF32CuBLAS(false); }

void sum_fp16_products_in_fp32() { at::globalContext().setAllowFP16ReductionCuBLAS(false); }

at::Generator make_generator(int index, std::uint64_t seed) {
  at::Generator generator = at::cuda::detail::createCUDAGenerator(static_cast<c10::DeviceIndex>(index));
  generator.set_current_seed(seed);
  return generator;
}

void synchronize() { WAN_CUDA_CHECK(cudaDeviceSynchronize()); }

void wait_for_compute() { WAN_CUDA_CHECK(cudaStreamSynchronize(c10::cuda::getCurrentCUDAStream())); }

}  // namespace wan::gpu
