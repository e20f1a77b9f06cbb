#pragma once

#include <ATen/core/Tensor.h>

namespace wan::kernels {

/// x W^T + b with x rounded to the weight's type first. x: [rows, in]; weight: [out, in]; bias: [out] or
/// undefined.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

/// GELU, tanh form, computed in fp32 and rounded once (spec 5.9).
at::Tensor gelu_tanh(const at::Tensor& x);

}  // namespace wan::kernels
