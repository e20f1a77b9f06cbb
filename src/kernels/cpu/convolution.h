#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/convolution.h"

/// The autoencoder's operations on the CPU. Each value is summed in one order: time, row, column, channel,
/// with its own sum. So its bits depend neither on the other values nor on the division among threads.
/// Libraries choose the order by the sizes of a call. The instruction set is chosen when the program runs.
namespace wan::kernels::cpu {

/// kernels::convolve_out() of tensors on the CPU, any type.
void convolve_out(const at::Tensor& out, const at::Tensor& x, const at::Tensor& weight,
                  const at::Tensor& bias, const ConvolutionShape& shape, const at::Tensor& addend);

/// kernels::rms_norm_silu_out() of tensors on the CPU, any type.
void rms_norm_silu_out(const at::Tensor& out, const at::Tensor& x, const at::Tensor& gamma, bool silu);

}  // namespace wan::kernels::cpu
