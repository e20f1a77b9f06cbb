#pragma once

#include <cstdint>

// Sizes that the kernels of kernels/cuda support. (No ATen here, because the kernels include this header.)
namespace wan::kernels {

/// Rows must be a multiple of this many elements ...
inline constexpr std::int64_t row_multiple = 8;
/// ... up to this many, the most that a block holds in registers.
inline constexpr std::int64_t max_row = 32768;
/// The most chunks into which norm_rotate_pack() sorts heads.
inline constexpr int max_head_chunks = 64;
/// The most LoRAs that add_low_rank() adds in one call.
inline constexpr int max_low_rank_shares = 8;

}  // namespace wan::kernels
