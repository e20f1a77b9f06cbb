#pragma once

#include <cstdint>

// Sizes that the kernels of kernels/cuda are made for. (Without ATen: they see this header.)
namespace wan::kernels {

/// Rows are multiples of so many elements ...
inline constexpr std::int64_t row_multiple = 8;
/// ... up to the most that a block holds in registers.
inline constexpr std::int64_t max_row = 32768;
/// The most chunks that norm_rotate_pack() sorts heads into.
inline constexpr int max_head_chunks = 64;

}  // namespace wan::kernels
