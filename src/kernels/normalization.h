#pragma once

#include <ATen/core/Tensor.h>

namespace wan::kernels {

/// Layer norm without parameters, then x * (1 + scale) + shift (spec 5.6). x: fp32 [tokens, dim]; scale,
/// shift: fp32 [dim]. The result [tokens, dim] is rounded to `out_type`, the type of the linear layer it
/// feeds.
at::Tensor layer_norm_modulate(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift,
                               double eps, at::ScalarType out_type);

/// Layer norm with learned weight and bias [dim] (norm3). x: fp32 [tokens, dim].
at::Tensor layer_norm_affine(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                             double eps, at::ScalarType out_type);

/// Root-mean-square norm over the last axis times weight [dim]; statistics in fp32, result in x's type
/// (spec 5.6: over all heads together). x: [tokens, dim].
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// x += gate * y, in place. x: fp32 [tokens, dim]; y: [tokens, dim]; gate: fp32 [dim], undefined for 1.
void add_gated(at::Tensor& x, const at::Tensor& y, const at::Tensor& gate);

}  // namespace wan::kernels
