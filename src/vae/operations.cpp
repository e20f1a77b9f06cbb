#include "vae/operations.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "kernels/convolution.h"
#include "kernels/pixel_attention.h"
#include "kernels/row_limits.h"

namespace wan::vae {
namespace {

/// On the CPU, products by kernels::convolve_out() and softmax by rows. ATen's attention kernel there divides
/// queries among tiles, and a query's bits depend on its tile's size.
at::Tensor attend_on_cpu(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  constexpr std::int64_t scores_bytes = std::int64_t{64} << 20;  // those of some rows of queries
  const at::ScalarType type = query.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const std::int64_t keys = key.size(1) * key.size(2);
  const std::int64_t channels = query.size(3);
  const std::int64_t rows =
      std::clamp<std::int64_t>(scores_bytes / (query.size(2) * keys * 4), 1, query.size(1));
  const at::Tensor no_bias = at::zeros({std::max(keys, channels)}, type);
  const double scale = 1 / std::sqrt(static_cast<double>(channels));
  at::Tensor out = at::empty(query.sizes(), query.options());
  for (std::int64_t frame = 0; frame < query.size(0); ++frame) {
    const auto matrix = [&](const at::Tensor& map) {
      return map[frame].to(type).flatten(0, 1);
    };  // [H * W, C]
    const at::Tensor k = matrix(key).contiguous().view({keys, 1, 1, 1, channels});
    const at::Tensor v = matrix(value).t().contiguous().view({channels, 1, 1, 1, keys});
    for (std::int64_t row = 0; row < query.size(1); row += rows) {
      const std::int64_t count = std::min(rows, query.size(1) - row);
      const at::Tensor q = query.narrow(0, frame, 1).narrow(1, row, count).to(type);  // [1, count, W, C]
      at::Tensor scores = at::empty({1, count, query.size(2), keys}, no_bias.options());
      kernels::convolve_out(scores, q, k, no_bias.narrow(0, 0, keys), {});
      scores = at::softmax(scores.mul_(scale), -1);
      kernels::convolve_out(out.narrow(0, frame, 1).narrow(1, row, count), scores.to(query.scalar_type()),
                            v.to(query.scalar_type()), no_bias.narrow(0, 0, channels), {});
    }
  }
  return out;
}

}  // namespace

at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, bool tf32) {
  if (query.is_meta()) return at::empty(query.sizes(), query.options());
  if (query.is_cpu()) return attend_on_cpu(query, key, value);
  if (kernels::fits_pixel_attention(query[0], key[0], tf32)) {
    const at::Tensor out = at::empty(query.sizes(), query.options());
    for (std::int64_t frame = 0; frame < query.size(0); ++frame)
      kernels::attend_pixels_out(out[frame], query[frame], key[frame], value[frame]);
    return out;
  }
  const auto tokens = [](const at::Tensor& map) {
    return map.flatten(1, 2).unsqueeze(1);
  };  // [T, 1, h * W, C]
  const at::Tensor q = tokens(query);
  const at::Tensor k = tokens(key);
  const at::Tensor v = tokens(value);
  // Called by name, because it is the only kernel of ATen that supports heads of 384 channels, also in fp32.
  const at::Tensor out = kernels::fits_efficient_attention(q.scalar_type(), q.size(3))
                             ? std::get<0>(at::_scaled_dot_product_efficient_attention(
                                   q, k, v, /*attn_bias=*/{}, /*compute_log_sumexp=*/false))
                             : at::scaled_dot_product_attention(q, k, v);
  return out.squeeze(1).contiguous().view(query.sizes());
}

}  // namespace wan::vae
