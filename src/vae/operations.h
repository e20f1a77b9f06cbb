#pragma once

#include <ATen/ATen.h>

/// Operations that LibTorch can do with outlines (tensors on the meta device: shapes without memory) in
/// Python only. Of outlines they make the outline of the result.
namespace wan::vae {

/// at::convolution of [N, in, ...] with `weight` [out, in, kernel...], over the 2 or 3 last dimensions.
at::Tensor convolve(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                    at::IntArrayRef stride, at::IntArrayRef padding);

/// Scaled dot-product attention, [N, heads, queries or keys, channels] each, any strides. By a kernel that
/// holds no scores in memory.
at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value);

}  // namespace wan::vae
