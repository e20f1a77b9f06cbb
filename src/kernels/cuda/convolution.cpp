#include "kernels/cuda/convolution.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "core/check.h"
#include "kernels/cuda/arguments.h"
#include "kernels/cuda/convolution_sm90.h"
#include "kernels/cuda/pixel_norm.h"

namespace wan::kernels::cuda {
namespace {

constexpr const char* kernel = "convolution";
constexpr std::int64_t access_bytes = 16;
constexpr std::int64_t widest_taps = 128;  // output channels times taps
constexpr std::int64_t largest_kernel = 3;
constexpr std::int64_t largest_stride = 2;

bool on_hopper(const at::Tensor& x) {
  if (!x.is_cuda()) return false;
  const cudaDeviceProp* properties = at::cuda::getDeviceProperties(x.device().index());
  return properties->major == 9 && properties->minor == 0;
}

std::int64_t elements_of_access(const at::Tensor& x) {
  return access_bytes / static_cast<std::int64_t>(x.element_size());
}

/// Whether pixels begin at multiples of 16 bytes. An axis of one element has no stride that counts.
bool aligned_pixels(const at::Tensor& x) {
  bool aligned = reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % access_bytes == 0;
  for (int axis = 0; axis < 3; ++axis) {
    aligned = aligned && (x.size(axis) == 1 || x.stride(axis) % elements_of_access(x) == 0);
  }
  return aligned;
}

bool dense_channels(const at::Tensor& x) { return x.size(3) == 1 || x.stride(3) == 1; }

bool small(const at::Tensor& x) {
  return std::ranges::all_of(x.sizes(), [](std::int64_t size) { return size < (1 << 20); });
}

/// For a tensor that is written or added: wide accesses need alignment; others take any strides.
bool fits_result(const at::Tensor& x) {
  return dense_channels(x) && (x.size(3) % 4 != 0 || aligned_pixels(x));
}

bool fits_type(const at::Tensor& x, bool tf32) {
  return x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16 ||
         (x.scalar_type() == at::kFloat && tf32);
}

Activation activation(const at::Tensor& x) {
  const auto size = [&](int axis) { return static_cast<int>(x.size(axis)); };
  // The copy engine checks the strides of axes of one element, which may be anything, too.
  const auto stride = [&](int axis) { return x.size(axis) == 1 ? x.size(3) : x.stride(axis); };
  return {.data = x.const_data_ptr(),
          .frames = size(0),
          .rows = size(1),
          .columns = size(2),
          .channels = size(3),
          .frame_stride = stride(0),
          .row_stride = stride(1),
          .column_stride = stride(2)};
}

Axes axes(std::int64_t time, std::int64_t rows, std::int64_t columns) {
  return {static_cast<int>(time), static_cast<int>(rows), static_cast<int>(columns)};
}

/// A convolution as the kernel takes it: pixels of a multiple of 16 bytes.
struct Operands {
  std::vector<at::Tensor> pieces;  ///< of x
  at::Tensor weight;
  ConvolutionShape shape;
};

/// The columns of the kernel become channels, so that pixels with few channels do not fill blocks with zeros:
/// a pixel of the new input is four neighbours of the old one, in the same memory, and the fourth has no
/// weight.
Operands packed(const at::Tensor& x, const at::Tensor& weight, ConvolutionShape shape) {
  constexpr std::int64_t neighbours = 4;
  const std::int64_t channels = elements_of_access(x);
  const std::int64_t missing = channels - x.size(3);
  const at::Tensor padded = at::constant_pad_nd(x, {0, missing, shape.before[2], shape.after[2] + 1});
  const std::int64_t columns = padded.size(2) - neighbours + 1;
  const at::Tensor windows =
      padded.as_strided({padded.size(0), padded.size(1), columns, neighbours * channels},
                        {padded.stride(0), padded.stride(1), channels, 1});
  const at::Tensor taps = at::constant_pad_nd(weight, {0, missing, 0, neighbours - weight.size(3)});
  shape.before[2] = shape.after[2] = 0;
  return {{windows}, taps.flatten(3).unsqueeze(3), shape};
}

/// Whether pixels lie in memory as the kernel takes them.
bool is_whole(const at::Tensor& x) { return x.size(3) % elements_of_access(x) == 0; }

bool becomes_packed(const at::Tensor& x, const at::Tensor& weight, const ConvolutionShape& shape) {
  return x.size(3) <= elements_of_access(x) && weight.size(3) == 3 && shape.stride[2] == 1;
}

Operands operands_of(at::TensorList pieces, const at::Tensor& weight, const ConvolutionShape& shape) {
  const at::Tensor& x = pieces.front();
  if (becomes_packed(x, weight, shape)) return packed(x, weight, shape);
  if (is_whole(x)) return {pieces.vec(), weight, shape};
  const std::int64_t missing = -x.size(3) & (elements_of_access(x) - 1);
  return {{at::constant_pad_nd(x, {0, missing})}, at::constant_pad_nd(weight, {0, missing}), shape};
}

/// The convolution as one launch.
void launch(const at::Tensor& out, at::TensorList pieces, const at::Tensor& weight, const at::Tensor& bias,
            const ConvolutionShape& shape, const at::Tensor& addend) {
  const Operands operands = operands_of(pieces, weight, shape);
  const at::Tensor& weights = operands.weight;
  const DeviceStream device(weight);
  ConvolutionCall call{
      .x = {},
      .pieces = static_cast<int>(operands.pieces.size()),
      .out = activation(out),
      .addend = addend.defined() ? activation(addend) : Activation{},
      .weight = weights.const_data_ptr(),
      .bias = bias.const_data_ptr<float>(),
      .type = element_of(weight, kernel),
      .wide = out.scalar_type() == at::kFloat,
      .kernel = axes(weights.size(1), weights.size(2), weights.size(3)),
      .stride = axes(shape.stride[0], shape.stride[1], shape.stride[2]),
      .before = axes(operands.shape.before[0], operands.shape.before[1], operands.shape.before[2])};
  std::ranges::transform(operands.pieces, call.x, activation);
  check_launch(launch_convolution_sm90(call, device.stream()), kernel);
}

/// Whether the taps of rows and columns become output channels, so that a tile's pixels are multiplied by all
/// of them at once.
bool has_few_outputs(const at::Tensor& weight, const ConvolutionShape& shape, const at::Tensor& addend) {
  const std::int64_t taps = weight.size(2) * weight.size(3);
  return weight.size(0) * taps <= widest_taps && taps > 1 &&
         shape.stride == std::array<std::int64_t, 3>{1, 1, 1} && !addend.defined();
}

/// A convolution in time with a result for each tap, then their sums.
void convolve_few(const at::Tensor& out, at::TensorList pieces, const at::Tensor& weight,
                  const at::Tensor& bias, const ConvolutionShape& shape) {
  const at::Tensor& x = pieces.front();
  const std::int64_t channels = weight.size(0) * weight.size(2) * weight.size(3);
  const std::int64_t missing = -channels & 3;
  const at::Tensor by_tap =  // [rows * columns * out, time, 1, 1, in]
      weight.permute({2, 3, 0, 1, 4}).reshape({channels, weight.size(1), 1, 1, weight.size(4)});
  const at::Tensor weights = at::constant_pad_nd(by_tap, {0, 0, 0, 0, 0, 0, 0, 0, 0, missing});
  const at::TensorOptions fp32 = x.options().dtype(at::kFloat);
  const at::Tensor taps = at::empty({out.size(0), x.size(1), x.size(2), channels + missing}, fp32);
  launch(taps, pieces, weights, at::zeros({channels + missing}, fp32), {.before = {shape.before[0], 0, 0}},
         {});
  const DeviceStream device(x);
  check_launch(launch_tap_sums({.taps = activation(taps),
                                .out = activation(out),
                                .bias = bias.const_data_ptr<float>(),
                                .type = element_of(out, kernel),
                                .kernel = axes(1, weight.size(2), weight.size(3)),
                                .before = axes(0, shape.before[1], shape.before[2])},
                               device.stream()),
               kernel);
}

}  // namespace

bool has_convolution_kernel(const at::Tensor& weight, bool tf32) {
  return on_hopper(weight) && fits_type(weight, tf32);
}

bool fits_convolution(const at::Tensor& out, const at::Tensor& x, const at::Tensor& weight,
                      const ConvolutionShape& shape, const at::Tensor& addend) {
  const auto at_most = [](std::int64_t limit) {
    return [limit](std::int64_t value) { return value <= limit; };
  };
  const bool strided = shape.stride[1] > 1 || shape.stride[2] > 1;
  return on_hopper(x) && fits_type(x, shape.tf32) && small(x) && small(out) && dense_channels(x) &&
         (x.size(3) % elements_of_access(x) != 0 || aligned_pixels(x)) && fits_result(out) &&
         (!addend.defined() || fits_result(addend)) && weight.is_contiguous() &&
         reinterpret_cast<std::uintptr_t>(weight.const_data_ptr()) % access_bytes == 0 &&
         std::ranges::all_of(weight.sizes().slice(1, 3), at_most(largest_kernel)) &&
         std::ranges::all_of(shape.stride, at_most(largest_stride)) &&
         (!strided || shape.stride[1] == shape.stride[2]);
}

bool fits_pieces(const at::Tensor& out, at::TensorList pieces, const at::Tensor& weight,
                 const ConvolutionShape& shape, const at::Tensor& addend) {
  return std::ranges::all_of(pieces, [&](const at::Tensor& x) {
    return fits_convolution(out, x, weight, shape, addend) && is_whole(x) &&
           !becomes_packed(x, weight, shape);
  });
}

void convolve_out(const at::Tensor& out, at::TensorList pieces, const at::Tensor& weight,
                  const at::Tensor& bias, const ConvolutionShape& shape, const at::Tensor& addend) {
  if (out.numel() == 0) return;
  const at::Tensor& x = pieces.front();
  const at::Tensor biases = dense(bias, at::kFloat, weight.size(0), x, kernel);
  WAN_CHECK(weight.scalar_type() == x.scalar_type() && weight.device() == x.device(),
            "GPU kernel {}: the weight is {} on {}, the input {} on {}", kernel,
            at::toString(weight.scalar_type()), weight.device().str(), at::toString(x.scalar_type()),
            x.device().str());
  WAN_CHECK((out.scalar_type() == at::kFloat || out.scalar_type() == x.scalar_type()) &&
                (!addend.defined() || addend.scalar_type() == out.scalar_type()),
            "GPU kernel {}: the result has the input's type or fp32, and the addend the result's", kernel);
  if (has_few_outputs(weight, shape, addend)) return convolve_few(out, pieces, weight, biases, shape);
  launch(out, pieces, weight, biases, shape, addend);
}

bool fits_pixel_norm(const at::Tensor& out, const at::Tensor& x) {
  return x.is_cuda() && (out.scalar_type() == x.scalar_type() || out.scalar_type() == at::kFloat) &&
         fits_type(x, /*tf32=*/true) && small(x) && dense_channels(x) && dense_channels(out) &&
         aligned_pixels(x) && aligned_pixels(out) &&
         pixel_norm_lanes(static_cast<int>(x.size(3)), element_of(x, "norm")) > 0;
}

void rms_norm_silu_out(const at::Tensor& out, const at::Tensor& x, const at::Tensor& gamma, bool silu) {
  const char* const norm = "norm of pixels";
  if (x.numel() == 0) return;
  const at::Tensor factors = dense(gamma, at::kFloat, x.size(3), x, norm);
  const DeviceStream device(x);
  const PixelNormCall call{.x = activation(x),
                           .out = activation(out),
                           .gamma = factors.const_data_ptr<float>(),
                           .type = element_of(x, norm),
                           .silu = silu};
  const bool wide = out.scalar_type() == at::kFloat;
  check_launch((wide ? launch_wide_rms_norm_silu : launch_rms_norm_silu)(call, device.stream()), norm);
}

}  // namespace wan::kernels::cuda
