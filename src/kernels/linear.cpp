#include "kernels/linear.h"

#include <ATen/ATen.h>

namespace wan::kernels {

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::linear(x.to(weight.scalar_type()), weight, bias);
}

void linear_out(at::Tensor& out, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor input = x.to(weight.scalar_type());  // [rows, in]
  if (bias.defined()) {
    at::addmm_out(out, bias, input, weight.t());
  } else {
    at::mm_out(out, input, weight.t());
  }
}

at::Tensor linear_gelu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const bool is_half = weight.scalar_type() == at::kBFloat16 || weight.scalar_type() == at::kHalf;
  if (weight.is_cuda() && is_half) {
    return at::_addmm_activation(bias, x.to(weight.scalar_type()), weight.t(), /*beta=*/1, /*alpha=*/1,
                                 /*use_gelu=*/true);
  }
  at::Tensor result = linear(x, weight, bias);  // [rows, out]
  gelu_tanh_(result);
  return result;
}

at::Tensor gelu_tanh(const at::Tensor& x) { return at::gelu(x, "tanh"); }

void gelu_tanh_(at::Tensor& x) { at::gelu_(x, "tanh"); }

}  // namespace wan::kernels
