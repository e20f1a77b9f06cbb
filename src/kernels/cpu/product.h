#pragma once

#include <ATen/core/Tensor.h>

/// Products, attention and activations on the CPU whose rows have the same bits wherever they are computed:
/// a row's bits depend neither on the other rows, nor on how many there are, nor on the number of threads.
/// Libraries choose the order of their sums by the sizes of a call, and round the last elements of a thread's
/// share in another way than the others. The instruction set is chosen when the program runs.
namespace wan::kernels::cpu {

/// out = x weight^T + bias, summed in fp32 (fp64 of fp64) and rounded once. x: [rows, in]; weight: [out, in];
/// bias: [out] or undefined; out: [rows, out] in any type.
void linear_out(const at::Tensor& out, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// softmax(q k^T * scale) v in fp32 (fp64 of fp64), rounded at the end. In bf16 the exponentials, too, are
/// rounded once they are summed, as the kernels of the official code do (model.md 5.9). q: [queries, heads,
/// head_dim]; k: [keys, heads, head_dim]; v: [keys, heads, width]; out: [queries, heads, width].
void attention_out(const at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   double scale);

/// x / (1 + e^-x), in fp32 (fp64 of fp64), rounded to x's type.
at::Tensor silu(const at::Tensor& x);
/// GELU in its tanh form, likewise. out: x's sizes and type; it may be x.
void gelu_tanh_out(const at::Tensor& out, const at::Tensor& x);

}  // namespace wan::kernels::cpu
