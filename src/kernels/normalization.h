#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

namespace wan::kernels {

// On a GPU these functions use the kernels of kernels/cuda for rows that fit them (kernels/row_limits.h), and
// ATen's operations for others.

/// Where a norm's rows go: into a new tensor of a type, or into rows that exist.
struct NormResult {
  NormResult(at::ScalarType new_type) : type(new_type) {}  // NOLINT(google-explicit-constructor)
  /// `existing`: contiguous, of the norm's shape.
  NormResult(at::Tensor existing)  // NOLINT(google-explicit-constructor)
      : type(existing.scalar_type()), rows(std::move(existing)) {}

  at::ScalarType type;
  at::Tensor rows;  ///< undefined: a new tensor
};

/// Layer norm without parameters, then x * (1 + scale) + shift (model.md 5.6). x: fp32 [tokens, dim]; scale,
/// shift: fp32 [dim]. The result [tokens, dim] is rounded to the type of `out`, that of the next linear
/// layer. `round_norm` rounds the normed value to bf16 before scale and shift. Block 0's first norm in bf16
/// arithmetic needs it, because the stream is still bf16 there (model.md 5.9).
at::Tensor layer_norm_modulate(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift,
                               double eps, const NormResult& out, bool round_norm = false);

/// Layer norm with learned weight and bias [dim], fp32, bf16 or fp16 (norm3). x: fp32 [tokens, dim].
at::Tensor layer_norm_affine(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                             double eps, const NormResult& out);

/// Root-mean-square norm over the last axis, times weight [dim]. Statistics are fp32; the value is rounded to
/// x's type before and after the weight (model.md 5.9). A row contains all heads together (model.md 5.6). x:
/// fp32, bf16 or fp16 [tokens, dim], any distance between rows; weight in x's type.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// x += gate * y, in place. x: fp32 [tokens, dim]; y: fp32, bf16 or fp16 [tokens, dim]; gate: fp32 [dim],
/// undefined for 1.
void add_gated(at::Tensor& x, const at::Tensor& y, const at::Tensor& gate);

}  // namespace wan::kernels
