#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/normalization.h"

namespace wan::kernels::cuda {

/// The residual that is added to a row before its norm. An undefined y means none.
struct Residual {
  at::Tensor y;              ///< fp32, bf16 or fp16 [tokens, dim]
  at::Tensor gate;           ///< fp32 [dim], undefined for 1
  at::Tensor overflow = {};  ///< as in GatedResidual
};

/// The affine map after the norm of a row.
struct AffineNorm {
  at::Tensor weight;        ///< fp32, bf16 or fp16 [dim]
  at::Tensor bias;          ///< [dim], in weight's type
  bool around_one = false;  ///< multiplies by 1 + weight; fp32 only
  bool round_norm = false;  ///< rounds the normed value to bf16 first
  double eps = 0;
  NormResult out = at::kFloat;  ///< fp32, bf16 or fp16
};

// GPU versions of kernels/normalization.h and kernels/residual.h, on the current stream. dim must be a
// multiple of 8 up to 32768. They throw Error for an unsupported shape or type, or a failed launch.

/// x += gate * y in place if there is a residual, then the norm. x: fp32 [tokens, dim], contiguous. Returns
/// [tokens, dim].
at::Tensor layer_norm(const at::Tensor& x, const Residual& residual, const AffineNorm& norm);

/// x: fp32 [tokens, dim], contiguous.
void add_gated(const at::Tensor& x, const Residual& residual);

/// x: fp32, bf16 or fp16 [tokens, dim], dense rows, any distance between rows; weight: [dim] in x's type.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

}  // namespace wan::kernels::cuda
