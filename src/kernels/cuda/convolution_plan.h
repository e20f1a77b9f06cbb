#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/cuda/convolution_sm90.h"

// The agreement between the host (convolution_sm90.cpp) and the kernels (convolution_sm90.cuh).
namespace wan::kernels::cuda {

constexpr int tile_rows = 16;     ///< pixels
constexpr int tile_columns = 16;  ///< pixels
constexpr int box_width = 128;    ///< bytes of a pixel in a box: a block of input channels
constexpr int narrow_tile = 16;   ///< output channels of a tile where their number is no multiple of 4
constexpr int consumer_warps = 8;
constexpr int convolution_threads = 128 + 32 * consumer_warps;
constexpr int max_ring = 12;

struct ConvolutionPlan {
  CUtensorMap x[max_pieces], weight, addend_map;
  int pieces;
  int first_frames[max_pieces + 1];  ///< of each piece, and the frames of all
  const float* bias;
  const void* addend;
  void* out;
  int frames, rows, columns, channels;  ///< of out
  std::int64_t frame_stride, row_stride, column_stride;
  std::int64_t addend_frame_stride, addend_row_stride, addend_column_stride;
  int channel_tiles, column_tiles, row_tiles;
  int tiles;
  Axes kernel, stride, before;
  int channel_blocks;         ///< of the input
  int boxes;                  ///< boxes for each kernel frame and channel block: 1, or one for each tap
  int box_columns;            ///< pixels
  int box_bytes, box_pitch;   ///< of a box: bytes that arrive, and bytes from box to box in the ring
  int box_ring, weight_ring;  ///< places in the rings
  bool half_block;            ///< the last block of input channels has at most half as many
  bool prefetch;              ///< addend_map is there
  bool wide;                  ///< out and addend are fp32, whatever the operands are
};

/// Launches the convolution in tiles of `channels` output channels. The bits of the result do not depend on
/// that number. Returns cudaErrorInvalidValue if there is no such kernel.
cudaError_t launch_convolution(const ConvolutionCall& call, int channels, cudaStream_t stream);

/// The kernel for tiles of so many output channels, by the element type of x and weight; null if there is
/// none.
const void* convolution_fp32(int channels);
const void* convolution_fp16(int channels);
const void* convolution_bf16(int channels);

}  // namespace wan::kernels::cuda
