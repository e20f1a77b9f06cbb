#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/normalization.h"

namespace wan::kernels {

/// The output of a sub-layer, to be added to the residual stream: x += gate * y.
struct GatedResidual {
  const at::Tensor& y;     ///< fp32, bf16 or fp16 [tokens, dim]
  const at::Tensor& gate;  ///< fp32 [dim], undefined for 1
  /// int32, one element on x's device. It becomes 1 if a row of x holds a value that is not finite once y was
  /// added, and keeps its value otherwise. Undefined: nobody asks.
  at::Tensor overflow = {};
};

// Adds one sub-layer's residual and computes the next one's norm in one pass: on a GPU x is read and written
// once. x: fp32 [tokens, dim], updated in place. Returns the normed rows [tokens, dim].

/// add_gated, then layer_norm_modulate.
at::Tensor add_gated_layer_norm_modulate(at::Tensor& x, const GatedResidual& residual,
                                         const at::Tensor& scale, const at::Tensor& shift, double eps,
                                         const NormResult& out);

/// add_gated, then layer_norm_affine.
at::Tensor add_gated_layer_norm_affine(at::Tensor& x, const GatedResidual& residual, const at::Tensor& weight,
                                       const at::Tensor& bias, double eps, const NormResult& out);

}  // namespace wan::kernels
