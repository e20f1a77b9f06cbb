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

/// A convolution's weight in the kernels' layout, its bias, and how it walks.
class Convolution {
 public:
  /// Reads weight `stored_shape` and bias. `shape.tf32` is taken from the scope.
  Convolution(const WeightScope& weights, at::IntArrayRef stored_shape, kernels::ConvolutionShape shape);

  /// [T, h, W, in] -> [T', h', W', out], a new tensor.
  at::Tensor operator()(const at::Tensor& x) const;
  /// The same into `out`, plus `addend` if it is defined, which may be `out`.
  void write(const at::Tensor& out, const at::Tensor& x, const at::Tensor& addend = {}) const;

  std::int64_t in() const { return weight_.size(4); }
  std::int64_t out() const { return weight_.size(0); }
  /// The bands of a window of `rows` rows of these frames and columns, all with `in` channels.
  std::vector<Band> bands_of(std::int64_t rows, std::int64_t frames, std::int64_t columns) const;
  /// Type and device of input and output.
  at::TensorOptions options() const { return weight_.options(); }

 private:
  kernels::ConvolutionShape shape_;
  std::int64_t window_bytes_;
  at::Tensor weight_;  // [out, kt, kh, kw, in], rounded where the scope rounds
  at::Tensor bias_;    // [out], not rounded
};

}  // namespace wan::vae
