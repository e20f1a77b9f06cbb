#pragma once

#include <ATen/ATen.h>

namespace wan::vae {

/// Scaled dot-product attention with one head, frame by frame. query: [T, h, W, C]; key, value: [T, H, W, C],
/// all with dense channels and otherwise any strides. Returns [T, h, W, C]. Holds a gigabyte of scores at
/// most. `tf32`: the network's convolutions round to TF32; attention does not, but may add in another order.
/// The bits of a query's result do not depend on the other queries. For outlines the result is an outline.
at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, bool tf32 = false);

}  // namespace wan::vae
