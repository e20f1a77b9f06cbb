#pragma once

#include <cstddef>
#include <span>

#include "kernels/qkv.h"

namespace wan::kernels::cuda {

/// GPU version of kernels::norm_rotate_pack: one kernel on the current stream. head_dim must be a multiple of
/// 8. The buffers must be contiguous, at most 64 of them.
void norm_rotate_pack(const at::Tensor& qkv, const QkNorm& norm, const RotaryTable& table,
                      std::span<const at::Tensor> buffers, std::size_t short_chunk);

}  // namespace wan::kernels::cuda
