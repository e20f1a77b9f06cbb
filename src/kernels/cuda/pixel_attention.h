#pragma once

#include <ATen/core/Tensor.h>

namespace wan::kernels::cuda {

/// As those of kernels/pixel_attention.h.
bool fits_pixel_attention(const at::Tensor& query, const at::Tensor& key, bool tf32);
void attend_pixels_out(const at::Tensor& out, const at::Tensor& query, const at::Tensor& key,
                       const at::Tensor& value);

}  // namespace wan::kernels::cuda
