#pragma once

#include <ATen/core/Tensor.h>

namespace wan::kernels::cuda {

/// What is added to a row before its norm; nothing when y is undefined.
struct Residual {
  at::Tensor y;     ///< fp32 or bf16 [tokens, dim]
  at::Tensor gate;  ///< fp32 [dim], undefined for 1
};

/// What follows the norm of a row.
struct AffineNorm {
  at::Tensor weight;        ///< fp32 or bf16 [dim]
  at::Tensor bias;          ///< [dim], in weight's type
  bool around_one = false;  ///< times 1 + weight; takes fp32 only
  bool round_norm = false;  ///< the normed value is rounded to bf16 first
  double eps = 0;
  at::ScalarType out_type = at::kFloat;  ///< fp32 or bf16
};

// GPU counterparts of kernels/normalization.h and kernels/residual.h, on the current stream. dim must be a
// multiple of 8 up to 32768. They throw Error when a shape or type is not theirs or the launch fails.

/// x += gate * y in place where there is a residual, then the norm. x: fp32 [tokens, dim], contiguous.
/// Returns [tokens, dim].
at::Tensor layer_norm(const at::Tensor& x, const Residual& residual, const AffineNorm& norm);

/// x: fp32 [tokens, dim], contiguous.
void add_gated(const at::Tensor& x, const Residual& residual);

/// x: fp32 or bf16 [tokens, dim], rows dense, any distance between rows; weight: [dim] in x's type.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

}  // namespace wan::kernels::cuda
