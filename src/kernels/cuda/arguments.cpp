#include "kernels/cuda/arguments.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>

#include "core/check.h"

namespace wan::kernels::cuda {
namespace {

constexpr std::uintptr_t alignment_bytes = 16;

bool aligned(const at::Tensor& x) {
  return reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % alignment_bytes == 0;
}

}  // namespace

DeviceStream::DeviceStream(const at::Tensor& on)
    : guard_(on.device()), stream_(c10::cuda::getCurrentCUDAStream(on.device().index()).stream()) {}

Element element_of(const at::Tensor& tensor, const char* kernel) {
  if (tensor.scalar_type() == at::kFloat) return Element::fp32;
  if (tensor.scalar_type() == at::kBFloat16) return Element::bf16;
  if (tensor.scalar_type() == at::kHalf) return Element::fp16;
  fail("GPU kernel {}: {} tensors are not supported; it takes fp32, bf16 and fp16", kernel,
       at::toString(tensor.scalar_type()));
}

void check_rows(const at::Tensor& x, const char* kernel) {
  WAN_CHECK(x.dim() == 2, "GPU kernel {} takes [tokens, dim], not {} axes", kernel, x.dim());
  WAN_CHECK(x.size(1) > 0 && x.size(1) % row_multiple == 0 && x.size(1) <= max_row,
            "GPU kernel {}: rows of {} elements; they must be a multiple of {} up to {}", kernel, x.size(1),
            row_multiple, max_row);
  WAN_CHECK(x.stride(1) == 1 && (x.size(0) <= 1 || x.stride(0) % row_multiple == 0) && aligned(x),
            "GPU kernel {}: rows must be dense and aligned to {} bytes (strides {}, {})", kernel,
            alignment_bytes, x.stride(0), x.stride(1));
}

at::Tensor dense(const at::Tensor& values, at::ScalarType type, std::int64_t count, const at::Tensor& like,
                 const char* kernel) {
  WAN_CHECK(values.scalar_type() == type && values.device() == like.device() && values.numel() == count,
            "GPU kernel {}: an operand is {} on {} with {} elements, it should be {} on {} with {}", kernel,
            at::toString(values.scalar_type()), values.device().str(), values.numel(), at::toString(type),
            like.device().str(), count);
  const at::Tensor contiguous = values.contiguous();
  return aligned(contiguous) ? contiguous : contiguous.clone();
}

void check_launch(cudaError_t status, const char* kernel) {
  if (status != cudaSuccess) {
    fail("GPU kernel {} could not be launched: {} ({})", kernel, cudaGetErrorString(status),
         cudaGetErrorName(status));
  }
}

}  // namespace wan::kernels::cuda
