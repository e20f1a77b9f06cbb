#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace wan::gpu {

/// What is known of one GPU.
struct DeviceInfo {
  int index = 0;
  std::string name;    ///< "NVIDIA H200"
  std::string bus_id;  ///< "0000:1b:00.0", the same whatever CUDA_VISIBLE_DEVICES says
  std::uint64_t total_bytes = 0;
  std::uint64_t free_bytes = 0;
  int compute_major = 0;  ///< compute capability, 9.0 on Hopper
  int compute_minor = 0;
  int multiprocessors = 0;
};

/// The GPUs that this process may use.
struct VisibleGpus {
  int count = 0;
  std::string reason;           ///< why there are none: no driver, driver too old, a build without CUDA ...
  bool driver_too_old = false;  ///< the reason: there may well be GPUs
};

/// Versions as CUDA counts them, 13000 for 13.0; 0: there is none.
struct CudaVersions {
  int driver = 0;   ///< the newest that the driver supports
  int runtime = 0;  ///< LibTorch's
};

/// Whether this build has GPU code at all.
bool is_built_in();

/// What kernels were compiled for, "80-real,86-real,90a-real" (gpu/architectures.h reads it); empty in a
/// build without GPU code.
std::string_view built_architectures();

/// Never throws.
CudaVersions cuda_versions();

/// Never throws; initialises the driver.
VisibleGpus visible_gpus();

/// Makes `index` this thread's GPU, creates its context and says what it is. Throws UsageError with the
/// driver's reason: a GPU in exclusive use by another process, or broken.
DeviceInfo open_device(int index);

/// Throws UsageError, with what there is code for, unless this build has code for GPUs of this kind. A kernel
/// that is missing would show only at its first launch, long after the weights were read.
void require_code(const DeviceInfo& device);

/// Whether GPU `index` can reach the memory of GPU `peer` of the same process directly.
bool can_access_peer(int index, int peer);

/// Whether convolutions and matrix products of fp32 tensors may round their inputs to TF32 on the GPU. The
/// official code leaves convolutions that freedom and matrix products not.
void allow_tf32_convolutions(bool allowed);

/// A generator as torch has it on GPU `index`.
at::Generator make_generator(int index, std::uint64_t seed);

/// Waits until all work issued to this thread's GPU is done. Throws Error with the driver's reason if any of
/// it failed.
void synchronize();

}  // namespace wan::gpu
