#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/launch.h"

// Convolutions on the tensor cores of Hopper GPUs, channels last, as an implicit matrix product: no tensor of
// patches is made. fp32 operands are rounded to TF32 (to the nearest), 16-bit ones are taken as they are;
// sums are fp32.
namespace wan::kernels::cuda {

/// [frames, rows, columns, channels], channels dense; strides in elements.
struct Activation {
  const void* data = nullptr;
  int frames = 0, rows = 0, columns = 0, channels = 0;
  std::int64_t frame_stride = 0, row_stride = 0, column_stride = 0;
};

/// In order time, rows, columns.
struct Axes {
  int time = 1, rows = 1, columns = 1;
};

constexpr int max_pieces = 3;  ///< of the input

struct ConvolutionCall {
  Activation x[max_pieces];  ///< frames one piece after the other; strides are multiples of 16 bytes
  int pieces = 1;
  Activation out;     ///< written
  Activation addend;  ///< data is null, or the shape of out
  const void* weight =
      nullptr;  ///< [out, kernel.time, kernel.rows, kernel.columns, in], dense; in * size % 16 == 0
  const float* bias = nullptr;   ///< [out]
  Element type = Element::fp32;  ///< of x and weight
  bool wide = false;             ///< out and addend are fp32, else of that type
  Axes kernel, stride;
  Axes before{
      0, 0,
      0};  ///< zeros before the first frame, row and column; those after the last follow from out's sizes
};

/// Launches the convolution. Returns cudaErrorInvalidValue for operands that break the rules above.
cudaError_t launch_convolution_sm90(const ConvolutionCall& call, cudaStream_t stream);

/// The last part of a convolution with few output channels, whose taps of rows and columns were output
/// channels of a convolution before: out = bias + the sum of each tap's values at the pixels that it reads.
struct TapSumsCall {
  Activation taps;  ///< fp32; its channels are [kernel.rows, kernel.columns, out's channels], or more
  Activation out;   ///< written
  const float* bias = nullptr;   ///< [out]
  Element type = Element::fp32;  ///< of out
  Axes kernel, before;           ///< time does not count
};
cudaError_t launch_tap_sums(const TapSumsCall& call, cudaStream_t stream);

/// out = silu(x / max(|x| over channels, 1e-12) * sqrt(channels) * gamma), in fp32, rounded once.
struct PixelNormCall {
  Activation x, out;             ///< the same sizes; strides are multiples of 16 bytes
  const float* gamma = nullptr;  ///< [channels]
  Element type = Element::fp32;  ///< of x and out
  bool silu = true;              ///< false: the norm alone
};
/// The threads that share a pixel, or 0 if the kernel does not take this number of channels.
int pixel_norm_lanes(int channels, Element type);
cudaError_t launch_rms_norm_silu(const PixelNormCall& call, cudaStream_t stream);

}  // namespace wan::kernels::cuda
