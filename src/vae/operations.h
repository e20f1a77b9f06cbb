#pragma once

#include <ATen/ATen.h>

namespace wan::vae {

/// Scaled dot-product attention with one head, frame by frame. query: [T, h, W, C]; key, value: [T, H, W, C],
/// all with dense channels and otherwise any strides. Returns [T, h, W, C]. Holds the scores of some rows at
/// most. The bits of a query's result do not depend on the other queries. For outlines the result is an
/// outline.
at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value);

}  // namespace wan::vae
