#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "kernels/limits.h"

namespace wan::kernels {

/// One LoRA's share in a weight [rows, columns]: factor x (up down) + strength x difference (model.md 1.9).
struct LowRankShare {
  double factor = 1;
  at::Tensor up = {};          ///< [some rows, rank], fp32, dense; undefined: no pair
  at::Tensor down = {};        ///< [rank, columns], fp32, dense
  std::int64_t first_row = 0;  ///< the weight's row that `up` begins with
  double strength = 1;
  at::Tensor difference = {};  ///< fp32, of the elements that are changed; undefined: none
};

/// Whether this build and `device` have add_low_rank() for results of this type: on GPUs, in bf16 and fp32.
bool has_add_low_rank(const at::Device& device, at::ScalarType type);

/// out = base + the shares, for the elements [first, first + n) of a weight, counted row-major. base, out:
/// [n] on one GPU, in bf16 or fp32; they may be the same memory. Each product up x down is a chain of fused
/// operations in fp32, k = 0 ... rank - 1; the shares are added in fp64 in their order; the sum is rounded to
/// fp32, then to out's type. So the bits are those of lora::LoraMerge on the CPU, whichever elements one call
/// has. At most max_low_rank_shares shares. Throws Error for other types and shapes.
void add_low_rank(const at::Tensor& out, const at::Tensor& base, std::int64_t first, std::int64_t columns,
                  std::span<const LowRankShare> shares);

}  // namespace wan::kernels
