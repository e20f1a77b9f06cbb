#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/convolution.h"

namespace wan::kernels::cuda {

/// As kernels::has_convolution_kernel().
bool has_convolution_kernel(const at::Tensor& weight, bool tf32);

/// Whether the kernel for Hopper GPUs computes this: x on a GPU of compute capability 9.0, fp32 with TF32
/// products or 16 bits, no kernel or stride that the autoencoders do not have.
bool fits_convolution(const at::Tensor& out, const at::Tensor& x, const at::Tensor& weight,
                      const ConvolutionShape& shape, const at::Tensor& addend);

/// Whether convolve_out() takes these pieces as they are.
bool fits_pieces(const at::Tensor& out, at::TensorList pieces, const at::Tensor& weight,
                 const ConvolutionShape& shape, const at::Tensor& addend);

/// As kernels::convolve_out(), or convolve_pieces_out() where there are several.
void convolve_out(const at::Tensor& out, at::TensorList pieces, const at::Tensor& weight,
                  const at::Tensor& bias, const ConvolutionShape& shape, const at::Tensor& addend);

/// Whether the fused norm takes these tensors.
bool fits_pixel_norm(const at::Tensor& out, const at::Tensor& x);

/// As kernels::rms_norm_silu_out().
void rms_norm_silu_out(const at::Tensor& out, const at::Tensor& x, const at::Tensor& gamma, bool silu);

}  // namespace wan::kernels::cuda
