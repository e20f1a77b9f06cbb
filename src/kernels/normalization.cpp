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

/// Rows of fp32, rounded to the wanted type and brought where they are wanted.
at::Tensor placed(const at::Tensor& rows, const NormResult& out) {
  return out.rows.defined() ? out.rows.copy_(rows) : rows.to(out.type);
}

}  // namespace

at::Tensor layer_norm_modulate(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift,
                               double eps, const NormResult& out, bool round_norm) {
  if constexpr (with_cuda) {
    if (x.is_cuda() && fits_row_kernels(x)) {
      return cuda::layer_norm(x, {},
                              {.weight = scale,
                               .bias = shift,
                               .around_one = true,
                               .round_norm = round_norm,
                               .eps = eps,
                               .out = out});
    }
  }
  at::Tensor normed = layer_norm(x, {}, {}, eps);  // [tokens, dim]
  if (round_norm) normed = normed.to(at::kBFloat16).to(at::kFloat);
  return placed(at::addcmul(shift, normed, scale + 1), out);  // [tokens, dim]
}

at::Tensor layer_norm_affine(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                             double eps, const NormResult& out) {
  if constexpr (with_cuda) {
    if (x.is_cuda() && fits_row_kernels(x)) {
      return cuda::layer_norm(x, {}, {.weight = weight, .bias = bias, .eps = eps, .out = out});
    }
  }
  return placed(layer_norm(x, weight.to(at::kFloat), bias.to(at::kFloat), eps), out);
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
