#pragma once

#include <ATen/ATen.h>

/// Operations that LibTorch supports for outlines (tensors on the meta device: shapes without memory) only in
/// Python. With an outline as input they return the outline of the result.
namespace wan::vae {

/// at::convolution of [N, in, ...] with `weight` [out, in, kernel...], over the last 2 or 3 dimensions.
at::Tensor convolve(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                    at::IntArrayRef stride, at::IntArrayRef padding);

/// Scaled dot-product attention; each input is [N, heads, queries or keys, channels] with any strides. Its
/// kernel holds no scores in memory.
at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value);

}  // namespace wan::vae
