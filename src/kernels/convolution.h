#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

namespace wan::kernels {

// The autoencoder's operations. Activations are channels last: [frames, rows, columns, channels] in fp32,
// fp16, bf16 or fp64. Channels are dense; the other strides are free, so that a tensor may be rows or frames
// of a larger one. With outlines (tensors of the meta device) the functions do nothing.

/// A convolution's weight as checkpoints store it, [out, in, kt, kh, kw] or [out, in, kh, kw], in the layout
/// of convolve_out(): [out, kt, kh, kw, in], dense. A new tensor, unless that is the layout already.
at::Tensor convolution_weight(const at::Tensor& stored);

/// How a convolution walks over its input. Everything in the order time, rows, columns.
struct ConvolutionShape {
  std::array<std::int64_t, 3> stride{1, 1, 1};
  std::array<std::int64_t, 3> before{0, 0, 0};  ///< zeros before the input's first frame, row, column
  std::array<std::int64_t, 3> after{0, 0, 0};   ///< zeros after its last
  /// Products of fp32 tensors may round their factors to TF32 on a GPU. Sums are fp32 all the same.
  bool tf32 = false;
};

/// [frames', rows', columns', out] of the convolution of `x` [frames, rows, columns, in].
std::array<std::int64_t, 4> convolved_sizes(const at::Tensor& x, const at::Tensor& weight,
                                            const ConvolutionShape& shape);

/// out[f, y, x, o] = bias[o] + the sum over time, rows, columns and channels of the window times the weight;
/// plus addend[f, y, x, o] if it is defined (a residual block's shortcut). Sums are fp32 (fp64 of fp64) and
/// are rounded once, after bias and addend. x: [frames, rows, columns, in]. weight: convolution_weight() in
/// x's type. bias: [out], fp32 (fp64 of fp64). out: convolved_sizes(), in x's type, or fp32 where x has 16
/// bits. addend: out's sizes and type; it may be `out` itself. On the CPU and with the kernels of
/// kernels/cuda, a value's bits depend on its window, the weight, bias and addend only: not on how many
/// frames, rows or columns there are, nor on the number of threads.
void convolve_out(const at::Tensor& out, const at::Tensor& x, const at::Tensor& weight,
                  const at::Tensor& bias, const ConvolutionShape& shape, const at::Tensor& addend = {});

/// The same for an input whose frames lie in several tensors, one after the other. `pieces`: at most
/// max_convolution_pieces; only their numbers of frames and strides differ.
inline constexpr std::size_t max_convolution_pieces = 3;
void convolve_pieces_out(const at::Tensor& out, at::TensorList pieces, const at::Tensor& weight,
                         const at::Tensor& bias, const ConvolutionShape& shape,
                         const at::Tensor& addend = {});

/// Whether convolutions with weights of this type and device run on the tensor cores of a Hopper GPU, by the
/// kernels of kernels/cuda.
bool has_convolution_kernel(const at::Tensor& weight, bool tf32);

/// out = silu(x / max(|x|, 1e-12) * sqrt(channels) * gamma), |x| over a position's channels (model.md 4.2).
/// x, out: [frames, rows, columns, channels]; out in x's type, or fp32 where x has 16 bits. gamma:
/// [channels], fp32 (fp64 of fp64). Without `silu` the norm alone. Bits are as independent as
/// convolve_out()'s.
void rms_norm_silu_out(const at::Tensor& out, const at::Tensor& x, const at::Tensor& gamma, bool silu = true);

}  // namespace wan::kernels
