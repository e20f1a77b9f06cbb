#pragma once

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAGuard.h>

#include "kernels/cuda/launch.h"

namespace wan::kernels::cuda {

/// Makes a tensor's device current and holds its current stream, for the object's lifetime.
class DeviceStream {
 public:
  explicit DeviceStream(const at::Tensor& on);
  cudaStream_t stream() const { return stream_; }

 private:
  c10::cuda::CUDAGuard guard_;
  cudaStream_t stream_;
};

/// fp32, bf16 or fp16. Throws Error with `kernel` for any other type.
Element element_of(const at::Tensor& tensor, const char* kernel);

/// Throws Error unless the row kernels accept `x`: [tokens, dim] with dense rows, dim a multiple of 8 up to
/// 32768, memory and distance between rows aligned to 16 bytes.
void check_rows(const at::Tensor& x, const char* kernel);

/// Returns `values`, or a copy if it is strided or not aligned to 16 bytes. Throws Error unless it has type
/// `type`, the device of `like` and `count` elements.
at::Tensor dense(const at::Tensor& values, at::ScalarType type, std::int64_t count, const at::Tensor& like,
                 const char* kernel);

/// Throws Error with the runtime's message if a launch failed.
void check_launch(cudaError_t status, const char* kernel);

}  // namespace wan::kernels::cuda
