#pragma once

#include "kernels/low_rank.h"

namespace wan::kernels::cuda {

/// GPU version of kernels::add_low_rank(), which has checked the arguments: one kernel on the current stream.
void add_low_rank(const at::Tensor& out, const at::Tensor& base, std::int64_t first, std::int64_t columns,
                  std::span<const LowRankShare> shares);

}  // namespace wan::kernels::cuda
