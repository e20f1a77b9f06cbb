#pragma once

#include <ATen/core/Tensor.h>

namespace wan::kernels {

// On the CPU a row's bits depend on that row and the parameters only: not on how many rows there are, nor on
// the number of threads (kernels/cpu/product.h).

/// x W^T + b. x is first rounded to the weight's type. x: [rows, in] or [in]; weight: [out, in]; bias: [out]
/// or undefined. Returns [rows, out] or [out].
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

/// The same, written to `out`: [rows, out] in the weight's type, dense.
void linear_out(at::Tensor& out, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

/// x[i] y[i] for each i. x: [n, rows, depth]; y: [n, depth, columns]. Returns [n, rows, columns].
at::Tensor batched_product(const at::Tensor& x, const at::Tensor& y);

/// gelu_tanh(linear(x, weight, bias)). On a GPU in bf16 and fp16 the matrix product itself applies the GELU,
/// before the product is rounded. That saves reading and writing [rows, out]. Elsewhere the GELU is applied
/// to the rounded product.
at::Tensor linear_gelu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// GELU in its tanh form, computed in fp32 and rounded once (model.md 5.9).
at::Tensor gelu_tanh(const at::Tensor& x);

/// The same in place.
void gelu_tanh_(at::Tensor& x);

/// The exact GELU, with the error function, rounded once.
at::Tensor gelu(const at::Tensor& x);

/// x / (1 + e^-x), rounded once.
at::Tensor silu(const at::Tensor& x);

}  // namespace wan::kernels
