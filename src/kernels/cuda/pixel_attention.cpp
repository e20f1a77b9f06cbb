#include "kernels/cuda/pixel_attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cuda/arguments.h"
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/softmax_rows.h"

namespace wan::kernels::cuda {
namespace {

constexpr const char* kernel = "attention of pixels";
constexpr std::int64_t scores_bytes = std::int64_t{1} << 30;
constexpr std::int64_t tile_rows = 16;  // of the convolution kernel

/// x minus x rounded to TF32. `x`: fp32, dense.
at::Tensor rest_of(const at::Tensor& x) {
  at::Tensor rest = at::empty_like(x);
  const DeviceStream device(x);
  check_launch(launch_tf32_rests(x.const_data_ptr<float>(), rest.mutable_data_ptr<float>(), x.numel(),
                                 device.stream()),
               kernel);
  return rest;
}

/// A factor of a product in pieces, one for each term: itself, or with its rest a b + rest(a) b + a rest(b).
std::vector<at::Tensor> left_terms(const at::Tensor& a, const at::Tensor& rest) {
  return rest.defined() ? std::vector{a, rest, a} : std::vector{a};
}

/// The right factor [n, k] as a convolution's weight [n, terms, 1, 1, k].
at::Tensor right_terms(const at::Tensor& b) {
  const at::Tensor dense_b = b.contiguous();
  const bool splits = b.scalar_type() == at::kFloat;
  const at::Tensor terms = splits ? at::stack({dense_b, dense_b, rest_of(dense_b)}, 1) : dense_b.unsqueeze(1);
  return terms.unsqueeze(2).unsqueeze(2);
}

/// The scores of some queries become their softmax: the pieces of a product's left factor.
std::vector<at::Tensor> softmax_terms(const at::Tensor& scores, at::ScalarType type, std::int64_t channels) {
  const at::Tensor made = at::empty(scores.sizes(), scores.options().dtype(type));
  const DeviceStream device(scores);
  const std::int64_t length = scores.size(3);
  const SoftmaxRows rows{.scores = scores.mutable_data_ptr<float>(),
                         .out = made.mutable_data_ptr(),
                         .type = element_of(made, kernel),
                         .rows = scores.numel() / length,
                         .length = static_cast<int>(length),
                         .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(channels)))};
  check_launch(launch_softmax_rows(rows, device.stream()), kernel);
  return type == at::kFloat ? left_terms(scores, made) : left_terms(made, {});
}

}  // namespace

bool fits_pixel_attention(const at::Tensor& query, const at::Tensor& key, bool tf32) {
  const std::int64_t keys = key.size(0) * key.size(1);
  if (!query.is_cuda() || keys % 8 != 0 || keys > max_softmax_row || query.size(2) % 8 != 0) return false;
  const at::Tensor x = query.unsqueeze(0);
  const at::Tensor weight = at::empty({1, 1, 1, 1, query.size(2)}, query.options());
  return fits_convolution(x, x, weight, {.tf32 = tf32}, {});
}

void attend_pixels_out(const at::Tensor& out, const at::Tensor& query, const at::Tensor& key,
                       const at::Tensor& value) {
  const ConvolutionShape shape{.tf32 = true};
  const std::int64_t keys = key.size(0) * key.size(1);
  const std::int64_t columns = query.size(1);
  const std::int64_t channels = query.size(2);
  const at::ScalarType type = query.scalar_type();
  const at::Tensor key_terms = right_terms(key.reshape({keys, channels}));
  const at::Tensor value_terms = right_terms(value.reshape({keys, channels}).t());
  const at::Tensor bias = at::zeros({std::max(keys, channels)}, query.options().dtype(at::kFloat));
  const at::Tensor q = query.contiguous().unsqueeze(0);  // [1, rows, columns, channels]
  const at::Tensor rest = type == at::kFloat ? rest_of(q) : at::Tensor();
  const std::int64_t fitting = scores_bytes / (columns * keys * 4);
  const std::int64_t most_rows =
      fitting > tile_rows ? fitting / tile_rows * tile_rows : std::max<std::int64_t>(1, fitting);
  for (std::int64_t row = 0; row < q.size(1); row += most_rows) {
    const std::int64_t count = std::min(most_rows, q.size(1) - row);
    std::vector<at::Tensor> terms = left_terms(q, rest);
    for (at::Tensor& term : terms) term = term.narrow(1, row, count);
    const at::Tensor scores = at::empty({1, count, columns, keys}, bias.options());
    convolve_out(scores, terms, key_terms, bias.narrow(0, 0, keys), shape, {});
    convolve_out(out.narrow(0, row, count).unsqueeze(0), softmax_terms(scores, type, channels), value_terms,
                 bias.narrow(0, 0, channels), shape, {});
  }
}

}  // namespace wan::kernels::cuda
