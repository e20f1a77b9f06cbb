#pragma once

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAGuard.h>

#include "kernels/cuda/launch.h"

namespace wan::kernels::cuda {

/// Makes a tensor's device current and gives its current stream, for as long as it lives.
class DeviceStream {
 public:
  explicit DeviceStream(const at::Tensor& on);
  cudaStream_t stream() const { return stream_; }

 private:
  c10::cuda::CUDAGuard guard_;
  cudaStream_t stream_;
};

/// fp32 or bf16; throws Error for any other type, naming `kernel`.
Element element_of(const at::Tensor& tensor, const char* kernel);

/// Throws Error unless `x` is [tokens, dim] with dense rows that the row kernels take: dim a multiple of 8 up
/// to 32768, memory and distance between rows aligned to 16 bytes.
void check_rows(const at::Tensor& x, const char* kernel);

/// `values`, or a copy where it is strided or not aligned to 16 bytes. Throws Error unless it has `type`, the
/// device of `like` and `count` elements.
at::Tensor dense(const at::Tensor& values, at::ScalarType type, std::int64_t count, const at::Tensor& like,
                 const char* kernel);

/// Throws Error with the runtime's message for a launch that failed.
void check_launch(cudaError_t status, const char* kernel);

}  // namespace wan::kernels::cuda
