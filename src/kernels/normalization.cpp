#include "kernels/normalization.h"

#include <ATen/ATen.h>

#include "kernels/cuda/normalization.h"
#include "kernels/device.h"
#include "kernels/row_limits.h"

namespace wan::kernels {
namespace {

/// Over the rows of x [tokens, dim]. ATen has no layer norm for tensors without memory, which an outline has
/// (parallel/outline.h): there only the shape counts.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  return x.is_meta() ? at::empty_like(x) : at::layer_norm(x, {x.size(-1)}, weight, bias, eps);
}

}  // namespace

at::Tensor layer_norm_modulate(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift,
                               double eps, at::ScalarType out_type, bool round_norm) {
  if constexpr (with_cuda) {
    if (x.is_cuda() && fits_row_kernels(x)) {
      return cuda::layer_norm(x, {},
                              {.weight = scale,
                               .bias = shift,
                               .around_one = true,
                               .round_norm = round_norm,
                               .eps = eps,
                               .out_type = out_type});
    }
  }
  at::Tensor normed = layer_norm(x, {}, {}, eps);  // [tokens, dim]
  if (round_norm) normed = normed.to(at::kBFloat16).to(at::kFloat);
  return at::addcmul(shift, normed, scale + 1).to(out_type);  // [tokens, dim]
}

at::Tensor layer_norm_affine(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                             double eps, at::ScalarType out_type) {
  if constexpr (with_cuda) {
    if (x.is_cuda() && fits_row_kernels(x)) {
      return cuda::layer_norm(x, {}, {.weight = weight, .bias = bias, .eps = eps, .out_type = out_type});
    }
  }
  return layer_norm(x, weight.to(at::kFloat), bias.to(at::kFloat), eps).to(out_type);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if constexpr (with_cuda) {
    if (x.is_cuda() && fits_row_kernels(x)) return cuda::rms_norm(x, weight, eps);
  }
  const at::Tensor wide = x.to(at::kFloat);                                            // [tokens, dim]
  const at::Tensor scale = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);  // [tokens, 1]
  return (wide * scale).to(x.scalar_type()) * weight;                                  // [tokens, dim]
}

void add_gated(at::Tensor& x, const at::Tensor& y, const at::Tensor& gate) {
  if constexpr (with_cuda) {
    if (x.is_cuda() && fits_row_kernels(x)) return cuda::add_gated(x, {.y = y, .gate = gate});
  }
  if (gate.defined()) {
    x.addcmul_(y.to(x.scalar_type()), gate);
  } else {
    x.add_(y);
  }
}

}  // namespace wan::kernels
