#include "kernels/residual.h"

#include <ATen/ATen.h>

#include "kernels/cuda/normalization.h"
#include "kernels/device.h"
#include "kernels/row_limits.h"

namespace wan::kernels {
namespace {

void add_and_look(at::Tensor& x, const GatedResidual& residual) {
  add_gated(x, residual.y, residual.gate);
  if (residual.overflow.defined()) residual.overflow.bitwise_or_(x.isfinite().all().logical_not());
}

}  // namespace

at::Tensor add_gated_layer_norm_modulate(at::Tensor& x, const GatedResidual& residual,
                                         const at::Tensor& scale, const at::Tensor& shift, double eps,
                                         const NormResult& out) {
  if constexpr (with_cuda) {
    if (x.is_cuda() && fits_row_kernels(x)) {
      return cuda::layer_norm(x, {.y = residual.y, .gate = residual.gate, .overflow = residual.overflow},
                              {.weight = scale, .bias = shift, .around_one = true, .eps = eps, .out = out});
    }
  }
  add_and_look(x, residual);
  return layer_norm_modulate(x, scale, shift, eps, out);  // [tokens, dim]
}

at::Tensor add_gated_layer_norm_affine(at::Tensor& x, const GatedResidual& residual, const at::Tensor& weight,
                                       const at::Tensor& bias, double eps, const NormResult& out) {
  if constexpr (with_cuda) {
    if (x.is_cuda() && fits_row_kernels(x)) {
      return cuda::layer_norm(x, {.y = residual.y, .gate = residual.gate, .overflow = residual.overflow},
                              {.weight = weight, .bias = bias, .eps = eps, .out = out});
    }
  }
  add_and_look(x, residual);
  return layer_norm_affine(x, weight, bias, eps, out);  // [tokens, dim]
}

}  // namespace wan::kernels
