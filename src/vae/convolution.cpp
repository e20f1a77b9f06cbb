#include "vae/convolution.h"

#include <algorithm>
#include <utility>

namespace wan::vae {

StoredConvolution read_convolution(const WeightScope& weights, at::IntArrayRef shape) {
  at::Tensor weight = weights.tensor("weight", shape);
  return {.weight = std::move(weight), .bias = weights.tensor("bias", {shape[0]})};
}

Convolution::Convolution(const StoredConvolution& stored, const Arithmetic& arithmetic,
                         kernels::ConvolutionShape shape)
    : shape_(shape), window_bytes_(arithmetic.window_bytes) {
  weight_ =
      kernels::convolution_weight(stored.weight.to(arithmetic.rounded.value_or(stored.weight.scalar_type())));
  if (weight_.is_alias_of(stored.weight)) weight_ = weight_.clone();
  bias_ = stored.bias.clone();
  shape_.tf32 = arithmetic.tf32;
}

at::Tensor Convolution::operator()(const at::Tensor& x) const {
  const at::Tensor out = at::empty(kernels::convolved_sizes(x, weight_, shape_), options());
  write(out, x);
  return out;
}

void Convolution::write(const at::Tensor& out, const at::Tensor& x, const at::Tensor& addend) const {
  // Frames that are repeated by an expand() share their memory, which no kernel has to understand.
  const bool repeats = x.size(0) > 1 && x.stride(0) == 0;
  const at::Tensor read = (repeats ? x.contiguous() : x).to(weight_.scalar_type());
  kernels::convolve_out(out, read, weight_, bias_, shape_, addend);
}

void Convolution::write(const at::Tensor& out, at::TensorList pieces, const at::Tensor& addend) const {
  kernels::convolve_pieces_out(out, pieces, weight_, bias_, shape_, addend);
}

void Convolution::write_bordered(const at::Tensor& out, const at::Tensor& x, std::int64_t above,
                                 std::int64_t below) const {
  kernels::ConvolutionShape shape = shape_;
  shape.before[1] = above;
  shape.after[1] = below;
  kernels::convolve_out(out, x.to(weight_.scalar_type()), weight_, bias_, shape);
}

std::vector<Band> Convolution::bands_of(std::int64_t rows, std::int64_t frames, std::int64_t columns) const {
  return bands(rows, frames * columns * in() * static_cast<std::int64_t>(weight_.element_size()),
               window_bytes_);
}

std::vector<Band> bands(std::int64_t rows, std::int64_t row_bytes, std::int64_t window_bytes) {
  const std::int64_t most = std::max<std::int64_t>(1, window_bytes / row_bytes);
  const std::int64_t count = (rows + most - 1) / most;
  std::vector<Band> result;
  for (std::int64_t band = 0; band < count; ++band) {
    const std::int64_t first = rows * band / count;
    result.push_back({first, rows * (band + 1) / count - first});
  }
  return result;
}

}  // namespace wan::vae
