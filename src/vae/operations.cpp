#include "vae/operations.h"

#include <tuple>
#include <vector>

#include "kernels/row_limits.h"

namespace wan::vae {
namespace {

constexpr std::int64_t outer_dims = 2;  // batch and channels

std::vector<std::int64_t> result_shape(const at::Tensor& x, const at::Tensor& weight, at::IntArrayRef stride,
                                       at::IntArrayRef padding) {
  std::vector<std::int64_t> shape{x.size(0), weight.size(0)};
  for (std::int64_t dim = outer_dims; dim < x.dim(); ++dim) {
    const auto axis = static_cast<std::size_t>(dim - outer_dims);
    shape.push_back((x.size(dim) + 2 * padding[axis] - weight.size(dim)) / stride[axis] + 1);
  }
  return shape;
}

}  // namespace

at::Tensor convolve(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                    at::IntArrayRef stride, at::IntArrayRef padding) {
  if (x.is_meta()) return at::empty(result_shape(x, weight, stride, padding), x.options());
  return x.dim() == 4 ? at::conv2d(x, weight, bias, stride, padding)
                      : at::conv3d(x, weight, bias, stride, padding);
}

at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  // A token's channels come from maps and are far apart. All of ATen's fused kernels refuse such tensors; the
  // kernel that remains writes all scores to memory.
  const at::Tensor q = query.contiguous();
  const at::Tensor k = key.contiguous();
  const at::Tensor v = value.contiguous();
  if (q.is_meta()) return at::empty_like(q);
  if (q.is_cuda() && kernels::fits_efficient_attention(q.scalar_type(), q.size(3))) {
    // Called by name, because it is the only kernel of ATen that supports heads of 384 channels, also in
    // fp32.
    return std::get<0>(at::_scaled_dot_product_efficient_attention(q, k, v, /*attn_bias=*/{},
                                                                   /*compute_log_sumexp=*/false));
  }
  return at::scaled_dot_product_attention(q, k, v);
}

}  // namespace wan::vae
