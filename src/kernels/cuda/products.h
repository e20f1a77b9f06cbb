#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/product_measurement.h"

namespace wan::kernels::cuda {

/// Whether product() computes it: on a Hopper GPU, in bf16 or fp16, with dense rows and weights whose sides
/// are multiples of 8, if the library has a kernel that takes all numbers of rows.
bool takes_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, ProductEnd end);

/// out = x W^T + bias, and with ProductEnd::gelu its GELU, rounded once. x: [rows, in]; weight: [out, in];
/// bias: [out] or undefined; out: [rows, out], dense. The table of choices names the kernel; it may depend
/// on the number of rows, because all kernels in the table have the same bits. A weight shape that is not in
/// the table has one kernel for all rows, the library's first choice.
void product(const at::Tensor& out, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
             ProductEnd end);

/// kernels::product_state() and kernels::measure_product() for the current GPU. The choices are read at the
/// first use.
ProductState product_state(const at::Device& device);
MeasuredProduct measure_product(const ProductShape& shape, std::span<const std::int64_t> rows,
                                const at::Device& device, const ProductTiming& timing);

}  // namespace wan::kernels::cuda
