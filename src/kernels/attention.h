#pragma once

#include <ATen/core/Tensor.h>

namespace wan::kernels {

/// softmax(q k^T / sqrt(head_dim)) v, no mask. q: [queries, heads, head_dim]; k, v: [keys, heads, head_dim],
/// any strides. Returns [queries, heads, head_dim].
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

/// The same written out, in the inputs' type: what fast versions are held to.
at::Tensor attention_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

}  // namespace wan::kernels
