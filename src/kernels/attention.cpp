#include "kernels/attention.h"

#include <ATen/ATen.h>

#include <cmath>

namespace wan::kernels {
namespace {

/// [rows, heads, head_dim] -> [1, heads, rows, head_dim], a view.
at::Tensor heads_first(const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); }

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const at::Tensor out = at::scaled_dot_product_attention(heads_first(q), heads_first(k), heads_first(v));
  return out.squeeze(0).transpose(0, 1);  // [queries, heads, head_dim]
}

at::Tensor attention_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(-1)));
  const at::Tensor scores =
      at::matmul(q.transpose(0, 1), k.permute({1, 2, 0})) * scale;  // [heads, queries, keys]
  return at::matmul(at::softmax(scores, -1), v.transpose(0, 1))
      .transpose(0, 1);  // [queries, heads, head_dim]
}

}  // namespace wan::kernels
