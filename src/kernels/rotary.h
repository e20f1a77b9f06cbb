#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/video_geometry.h"

namespace wan::kernels {

using model::TokenGrid;

/// cos and sin of every rotary angle of consecutive tokens (model.md 5.5): fp32 [tokens, head_dim / 2] each,
/// computed from fp64 angles.
struct RotaryTable {
  at::Tensor cos;
  at::Tensor sin;
};

/// The table of tokens [first, first + count) of the grid. Tokens at or beyond grid.tokens() are padding and
/// are not rotated.
RotaryTable make_rotary_table(const TokenGrid& grid, std::int64_t head_dim, std::int64_t first,
                              std::int64_t count);

/// Rotates adjacent pairs of elements. x: [tokens, heads, head_dim], any strides. The result is contiguous,
/// in x's type.
at::Tensor apply_rotary(const at::Tensor& x, const RotaryTable& table);

}  // namespace wan::kernels
