#include "kernels/linear.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "kernels/cpu/product.h"
#include "kernels/cuda/products.h"
#include "kernels/device.h"

namespace wan::kernels {
namespace {

bool has_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, ProductEnd end) {
  if constexpr (with_cuda) return x.is_cuda() && cuda::takes_product(x, weight, bias, end);
  return false;
}

void product_into(const at::Tensor& out, const at::Tensor& x, const at::Tensor& weight,
                  const at::Tensor& bias, ProductEnd end) {
  if constexpr (with_cuda) cuda::product(out, x, weight, bias, end);
}

at::Tensor product_of(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, ProductEnd end) {
  at::Tensor out = at::empty({x.size(0), weight.size(0)}, weight.options());
  product_into(out, x, weight, bias, end);
  return out;
}

ProductEnd end_with(const at::Tensor& bias) { return bias.defined() ? ProductEnd::bias : ProductEnd::plain; }

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor input = x.to(weight.scalar_type());  // [rows, in]
  if (has_product(input, weight, bias, end_with(bias))) {
    return product_of(input, weight, bias, end_with(bias));
  }
  if (!x.is_cpu()) return at::linear(input, weight, bias);
  std::vector<std::int64_t> sizes = x.sizes().vec();
  sizes.back() = weight.size(0);
  at::Tensor out = at::empty(sizes, weight.options());
  cpu::linear_out(out.view({-1, weight.size(0)}), input.reshape({-1, weight.size(1)}), weight, bias);
  return out;
}

void linear_out(at::Tensor& out, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor input = x.to(weight.scalar_type());  // [rows, in]
  if (x.is_cpu()) {
    cpu::linear_out(out, input, weight, bias);
  } else if (has_product(input, weight, bias, end_with(bias))) {
    product_into(out, input, weight, bias, end_with(bias));
  } else if (bias.defined()) {
    at::addmm_out(out, bias, input, weight.t());
  } else {
    at::mm_out(out, input, weight.t());
  }
}

at::Tensor batched_product(const at::Tensor& x, const at::Tensor& y) {
  if (!x.is_cpu()) return at::matmul(x, y);
  at::Tensor out = at::empty({x.size(0), x.size(1), y.size(2)}, x.options());
  for (std::int64_t i = 0; i < x.size(0); ++i) cpu::linear_out(out[i], x[i], y[i].t(), {});
  return out;
}

at::Tensor linear_gelu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const bool is_half = weight.scalar_type() == at::kBFloat16 || weight.scalar_type() == at::kHalf;
  if (weight.is_cuda() && is_half) {
    const at::Tensor input = x.to(weight.scalar_type());  // [rows, in]
    if (has_product(input, weight, bias, ProductEnd::gelu)) {
      return product_of(input, weight, bias, ProductEnd::gelu);
    }
    return at::_addmm_activation(bias, input, weight.t(), /*beta=*/1, /*alpha=*/1, /*use_gelu=*/true);
  }
  at::Tensor result = linear(x, weight, bias);  // [rows, out]
  gelu_tanh_(result);
  return result;
}

at::Tensor gelu_tanh(const at::Tensor& x) {
  if (!x.is_cpu()) return at::gelu(x, "tanh");
  at::Tensor out = at::empty(x.sizes(), x.options());
  cpu::gelu_tanh_out(out, x);
  return out;
}

void gelu_tanh_(at::Tensor& x) {
  if (x.is_cpu()) {
    cpu::gelu_tanh_out(x, x);
  } else {
    at::gelu_(x, "tanh");
  }
}

at::Tensor gelu(const at::Tensor& x) {
  // In fp32 ATen's function rounds all elements alike. Its fp16 form does not.
  return x.is_cpu() && x.scalar_type() == at::kHalf ? at::gelu(x.to(at::kFloat)).to(at::kHalf) : at::gelu(x);
}

at::Tensor silu(const at::Tensor& x) { return x.is_cpu() ? cpu::silu(x) : at::silu(x); }

}  // namespace wan::kernels
