#pragma once

#include <ATen/core/Tensor.h>

namespace wan::kernels {

/// Whether attend_pixels_out() computes this: on Hopper GPUs, in 16 bits, or in fp32 for a network whose
/// convolutions round to TF32. query: [rows, columns, channels], key: [all rows, columns, channels].
bool fits_pixel_attention(const at::Tensor& query, const at::Tensor& key, bool tf32);

/// out = softmax(query key^T / sqrt(channels)) value over all positions of key and value, with two products
/// on the tensor cores. Factors of fp32 are the sums of two TF32 numbers, so nothing is lost but the product
/// of the two smaller ones; sums are fp32. The scores of some rows of
/// queries, a gigabyte at most, and as many rests are in memory. Bits of a query's result do not depend on
/// other queries.
void attend_pixels_out(const at::Tensor& out, const at::Tensor& query, const at::Tensor& key,
                       const at::Tensor& value);

}  // namespace wan::kernels
