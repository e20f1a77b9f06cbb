#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

#include "model/precision_name.h"

namespace wan::kernels {

/// The device of a network's computation, and the type of its weights and matrix products: fp32, fp16, or
/// bf16 with the official roundings (model.md 5.9). Residual stream, norms and solver are fp32 in all cases.
struct Compute {
  at::Device device = at::kCPU;
  at::ScalarType type = at::kFloat;

  bool on_gpu() const { return device.is_cuda(); }
  std::string_view precision_name() const {
    if (type == at::kBFloat16) return bf16_name;
    return type == at::kHalf ? fp16_name : fp32_name;
  }
  at::TensorOptions options() const { return at::TensorOptions(device).dtype(type); }
  at::TensorOptions fp32() const { return at::TensorOptions(device).dtype(at::kFloat); }
};

}  // namespace wan::kernels
