#include "kernels/convolution.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/check.h"
#include "kernels/cpu/convolution.h"
#include "kernels/cuda/convolution.h"
#include "kernels/device.h"

namespace wan::kernels {
namespace {

/// [frames, rows, columns, channels] -> [1, channels, frames, rows, columns] of the same memory, which ATen
/// calls channels_last_3d.
at::Tensor batch_of(const at::Tensor& x) { return x.permute({3, 0, 1, 2}).unsqueeze(0); }

std::vector<std::int64_t> vector_of(const std::array<std::int64_t, 3>& values) {
  return {values.begin(), values.end()};
}

/// ATen's convolutions have as many zeros after as before. Other borders are written out.
at::Tensor padded(const at::Tensor& x, const ConvolutionShape& shape) {
  if (shape.before == shape.after) return x;
  return at::constant_pad_nd(x, {0, 0, shape.before[2], shape.after[2], shape.before[1], shape.after[1],
                                 shape.before[0], shape.after[0]});
}

at::Tensor convolved_by_aten(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                             const ConvolutionShape& shape) {
  const std::vector<std::int64_t> padding =
      shape.before == shape.after ? vector_of(shape.before) : std::vector<std::int64_t>(3, 0);
  const at::Tensor made = at::_convolution(  // [1, out, frames', rows', columns']
      batch_of(padded(x, shape)), weight.permute({0, 4, 1, 2, 3}), bias.to(x.scalar_type()),
      vector_of(shape.stride), padding, /*dilation=*/{1, 1, 1}, /*transposed=*/false,
      /*output_padding=*/{0, 0, 0}, /*groups=*/1, /*benchmark=*/false, /*deterministic=*/true,
      /*cudnn_enabled=*/true, shape.tf32);
  return made.squeeze(0).permute({1, 2, 3, 0});
}

}  // namespace

at::Tensor convolution_weight(const at::Tensor& stored) {
  WAN_CHECK(stored.dim() == 4 || stored.dim() == 5, "a convolution's weight has {} dimensions", stored.dim());
  const at::Tensor timed = stored.dim() == 4 ? stored.unsqueeze(2) : stored;  // [out, in, kt, kh, kw]
  return timed.permute({0, 2, 3, 4, 1}).contiguous();
}

std::array<std::int64_t, 4> convolved_sizes(const at::Tensor& x, const at::Tensor& weight,
                                            const ConvolutionShape& shape) {
  std::array<std::int64_t, 4> sizes{0, 0, 0, weight.size(0)};
  for (std::size_t axis = 0; axis < 3; ++axis) {
    const auto dim = static_cast<std::int64_t>(axis);
    const std::int64_t extent = shape.before[axis] + x.size(dim) + shape.after[axis];
    sizes[axis] = (extent - weight.size(dim + 1)) / shape.stride[axis] + 1;
  }
  return sizes;
}

void convolve_out(const at::Tensor& out, const at::Tensor& x, const at::Tensor& weight,
                  const at::Tensor& bias, const ConvolutionShape& shape, const at::Tensor& addend) {
  WAN_CHECK(out.sizes() == at::IntArrayRef(convolved_sizes(x, weight, shape)) &&
                x.size(3) == weight.size(4) && (!addend.defined() || addend.sizes() == out.sizes()),
            "a convolution's output has other sizes than its input gives");
  if (x.is_meta()) return;
  if (x.is_cpu()) return cpu::convolve_out(out, x, weight, bias, shape, addend);
  if constexpr (with_cuda) {
    if (cuda::fits_convolution(out, x, weight, shape, addend)) {
      return cuda::convolve_out(out, {x}, weight, bias, shape, addend);
    }
  }
  const bool widens = out.scalar_type() != x.scalar_type();
  const at::Tensor made =
      widens ? convolved_by_aten(x.to(out.scalar_type()), weight.to(out.scalar_type()), bias, shape)
             : convolved_by_aten(x, weight, bias, shape);
  if (addend.defined()) {
    at::Tensor target = out;
    at::add_out(target, made, addend);
  } else {
    out.copy_(made);
  }
}

bool has_convolution_kernel(const at::Tensor& weight, bool tf32) {
  if constexpr (with_cuda) return cuda::has_convolution_kernel(weight, tf32);
  return false;
}

void convolve_pieces_out(const at::Tensor& out, at::TensorList pieces, const at::Tensor& weight,
                         const at::Tensor& bias, const ConvolutionShape& shape, const at::Tensor& addend) {
  WAN_CHECK(!pieces.empty() && pieces.size() <= max_convolution_pieces, "a convolution's input has {} pieces",
            pieces.size());
  if constexpr (with_cuda) {
    if (pieces.size() > 1 && cuda::fits_pieces(out, pieces, weight, shape, addend)) {
      return cuda::convolve_out(out, pieces, weight, bias, shape, addend);
    }
  }
  convolve_out(out, pieces.size() == 1 ? pieces.front() : at::cat(pieces, 0), weight, bias, shape, addend);
}

void rms_norm_silu_out(const at::Tensor& out, const at::Tensor& x, const at::Tensor& gamma, bool silu) {
  WAN_CHECK(out.sizes() == x.sizes() && gamma.numel() == x.size(3), "a norm's tensors have unequal sizes");
  if (x.is_meta()) return;
  if (x.is_cpu()) return cpu::rms_norm_silu_out(out, x, gamma, silu);
  if constexpr (with_cuda) {
    if (cuda::fits_pixel_norm(out, x)) return cuda::rms_norm_silu_out(out, x, gamma, silu);
  }
  const at::Tensor wide = x.to(gamma.scalar_type());
  const at::Tensor norm = at::linalg_vector_norm(wide, 2, at::IntArrayRef{3}, /*keepdim=*/true);
  const at::Tensor normed =
      wide.div(norm.clamp_min(1e-12)).mul_(std::sqrt(static_cast<double>(x.size(3)))).mul_(gamma);
  out.copy_(silu ? at::silu(normed) : normed);
}

}  // namespace wan::kernels
