#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "kernels/convolution.h"
#include "vae/weight_scope.h"

namespace wan::vae {

/// Consecutive rows of a frame that are computed together.
struct Band {
  std::int64_t first, count;
  std::int64_t end() const { return first + count; }
};

/// Divides `rows` rows into bands of nearly equal size whose windows, of `row_bytes` a row, have at most
/// `window_bytes` (or one row).
std::vector<Band> bands(std::int64_t rows, std::int64_t row_bytes, std::int64_t window_bytes);

/// A convolution as the checkpoint stores it.
struct StoredConvolution {
  at::Tensor weight;  ///< [out, in, kt, kh, kw] or [out, in, kh, kw]
  at::Tensor bias;    ///< [out]
};
/// Reads weight and bias.
StoredConvolution read_convolution(const WeightScope& weights, at::IntArrayRef shape);

/// A convolution's weight in the kernels' layout, its bias, and how it walks.
class Convolution {
 public:
  /// Reads weight `stored_shape` and bias. `shape.tf32` is taken from the scope.
  Convolution(const WeightScope& weights, at::IntArrayRef stored_shape, kernels::ConvolutionShape shape)
      : Convolution(read_convolution(weights, stored_shape), weights.arithmetic(), shape) {}
  /// `shape.tf32` is taken from the arithmetic. Keeps no part of the stored tensors' memory.
  Convolution(const StoredConvolution& stored, const Arithmetic& arithmetic, kernels::ConvolutionShape shape);

  /// [T, h, W, in] -> [T', h', W', out], a new tensor.
  at::Tensor operator()(const at::Tensor& x) const;
  /// The same into `out`, plus `addend` if it is defined, which may be `out`.
  void write(const at::Tensor& out, const at::Tensor& x, const at::Tensor& addend = {}) const;
  /// The same for frames in several tensors of the input's type (kernels::convolve_pieces_out()).
  void write(const at::Tensor& out, at::TensorList pieces, const at::Tensor& addend) const;

  /// write() with other numbers of rows of zeros above and below the input.
  void write_bordered(const at::Tensor& out, const at::Tensor& x, std::int64_t above,
                      std::int64_t below) const;

  std::int64_t in() const { return weight_.size(4); }
  std::int64_t out() const { return weight_.size(0); }
  /// The bands of a window of `rows` rows of these frames and columns, all with `in` channels.
  std::vector<Band> bands_of(std::int64_t rows, std::int64_t frames, std::int64_t columns) const;
  /// Whether kernels of ours compute it on the tensor cores (kernels::has_convolution_kernel()).
  bool is_on_tensor_cores() const { return kernels::has_convolution_kernel(weight_, shape_.tf32); }
  /// Type and device of input and output.
  at::TensorOptions options() const { return weight_.options(); }

 private:
  kernels::ConvolutionShape shape_;
  std::int64_t window_bytes_;
  at::Tensor weight_;  // [out, kt, kh, kw, in], rounded where the scope rounds
  at::Tensor bias_;    // [out], not rounded
};

}  // namespace wan::vae
