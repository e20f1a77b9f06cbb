#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace wan::gpu {

/// Properties of one GPU.
struct DeviceInfo {
  int index = 0;
  std::string name;    ///< "NVIDIA H200"
  std::string bus_id;  ///< "0000:1b:00.0"; CUDA_VISIBLE_DEVICES does not change it
  std::uint64_t total_bytes = 0;
  std::uint64_t free_bytes = 0;
  int compute_major = 0;  ///< compute capability; 9.0 on Hopper
  int compute_minor = 0;
  int multiprocessors = 0;
};

/// The GPUs that this process may use.
struct VisibleGpus {
  int count = 0;
  std::string reason;           ///< why there are none: no driver, driver too old, a build without CUDA ...
  bool driver_too_old = false;  ///< the driver is the reason; the machine may have GPUs
};

/// Versions as CUDA counts them, 13000 for 13.0. 0 means that there is none.
struct CudaVersions {
  int driver = 0;   ///< newest CUDA version that the driver supports
  int runtime = 0;  ///< CUDA version of LibTorch
};

/// Whether this build has GPU code.
bool is_built_in();

/// The targets that kernels were compiled for, "80-real,86-real,90a-real" (gpu/architectures.h reads it).
/// Empty in a build without GPU code.
std::string_view built_architectures();

/// Never throws.
CudaVersions cuda_versions();

/// Initialises the driver. Never throws.
VisibleGpus visible_gpus();

/// Makes GPU `index` this thread's GPU, creates its context and returns its properties. Throws UsageError
/// with the driver's reason: another process uses the GPU exclusively, or it is broken.
DeviceInfo open_device(int index);

/// Throws UsageError, with the list of built targets, unless this build has code for this kind of GPU.
/// Without this check a missing kernel would show at its first launch, long after the weights were read.
void require_code(const DeviceInfo& device);

/// Whether GPU `index` can directly access the memory of GPU `peer` of the same process.
bool can_access_peer(int index, int peer);

/// From here on, no matrix product of fp32 rounds to TF32, whatever the environment says. The official code
/// has the same rule. Convolutions get theirs as an argument (kernels/convolution.h).
void forbid_tf32_products();

/// From here on, cuBLAS sums products of fp16 in fp32 also where it divides a sum among multiprocessors.
/// LibTorch's default lets it add such parts in fp16.
void sum_fp16_products_in_fp32();

/// A torch generator on GPU `index`.
at::Generator make_generator(int index, std::uint64_t seed);

/// Waits until all work issued to this thread's GPU is done. Throws Error with the driver's reason if some of
/// it failed.
void synchronize();

/// Waits until all work issued to the compute stream of this thread's GPU is done. Copies beside it
/// (gpu/background_copies.h) go on. Throws Error with the driver's reason if some of it failed.
void wait_for_compute();

}  // namespace wan::gpu
