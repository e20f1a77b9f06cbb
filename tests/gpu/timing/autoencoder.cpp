#include <ATen/ATen.h>
#include <c10/cuda/CUDAStream.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <functional>
#include <string>
#include <vector>

#include "core/check.h"
#include "gpu/timing/table.h"
#include "kernels/convolution.h"
#include "kernels/cuda/convolution_sm90.h"
#include "vae/operations.h"

namespace wan::timing {
namespace {

using namespace kernels;

/// A layer of the decoder: `frames` x `rows` x `columns` are its outputs.
struct VaeLayer {
  const char* name;
  std::int64_t in, out;
  std::array<std::int64_t, 3> kernel;
  std::int64_t frames, rows, columns;
  bool adds;  ///< a residual block's second convolution
};

void time_convolution(const VaeLayer& layer, at::ScalarType type) {
  const at::TensorOptions options = at::TensorOptions(at::kCUDA).dtype(type);
  const auto [time, height, width] = layer.kernel;
  const ConvolutionShape shape{
      .before = {0, height / 2, width / 2}, .after = {0, height / 2, width / 2}, .tf32 = true};
  const at::Tensor x = at::randn({layer.frames + time - 1, layer.rows, layer.columns, layer.in}, options);
  const at::Tensor weight = at::randn({layer.out, time, height, width, layer.in}, options) / 50;
  const at::Tensor bias = at::randn({layer.out}, at::kCUDA);
  const at::Tensor out = at::empty({layer.frames, layer.rows, layer.columns, layer.out}, options);
  const at::Tensor addend = layer.adds ? at::randn(out.sizes(), options) : at::Tensor();
  const double ms = median_ms([&] { convolve_out(out, x, weight, bias, shape, addend); });
  const double flop = 2.0 * static_cast<double>(out.numel()) * static_cast<double>(weight[0].numel());
  print_row(
      fmt::format("convolution {}, {}", layer.name, type == at::kFloat ? "TF32" : "fp16"),
      fmt::format("{} x {} x {}, {} -> {}", layer.frames, layer.rows, layer.columns, layer.in, layer.out), ms,
      flop, bound_of(type));
}

void time_pixel_norm(at::ScalarType type, std::int64_t frames, std::int64_t rows, std::int64_t columns,
                     std::int64_t channels) {
  const at::TensorOptions options = at::TensorOptions(at::kCUDA).dtype(type);
  const at::Tensor x = at::randn({frames, rows, columns, channels}, options);
  const at::Tensor out = at::empty_like(x);
  const at::Tensor gamma = at::randn({channels}, at::kCUDA);
  time_rows(fmt::format("norm and SiLU of pixels, {}", type == at::kFloat ? "fp32" : "fp16"),
            frames * rows * columns, channels, 2.0 * static_cast<double>(x.element_size()),
            [&] { rms_norm_silu_out(out, x, gamma); });
}

/// The sums behind the last convolution: 27 taps of three channels, padded to 28.
void time_tap_sums(int frames, int rows, int columns) {
  constexpr int channels = 28;
  const at::Tensor taps = at::randn({frames, rows, columns, channels}, at::kCUDA);
  const at::Tensor out = at::empty({frames, rows, columns, 3}, at::kCUDA);
  const at::Tensor bias = at::zeros({3}, at::kCUDA);
  const auto describe = [&](const at::Tensor& x, int depth) {
    return cuda::Activation{.data = x.const_data_ptr(),
                            .frames = frames,
                            .rows = rows,
                            .columns = columns,
                            .channels = depth,
                            .frame_stride = x.stride(0),
                            .row_stride = x.stride(1),
                            .column_stride = x.stride(2)};
  };
  const cuda::TapSumsCall call{.taps = describe(taps, channels),
                               .out = describe(out, 3),
                               .bias = bias.const_data_ptr<float>(),
                               .kernel = {1, 3, 3},
                               .before = {0, 1, 1}};
  const double ms = median_ms([&] {
    if (cuda::launch_tap_sums(call, c10::cuda::getCurrentCUDAStream()) != cudaSuccess)
      throw Error("tap sums");
  });
  print_row("sums of taps", fmt::format("{} x {} x {}, 9 x 3 -> 3", frames, rows, columns), ms,
            static_cast<double>(taps.nbytes() + out.nbytes()), Bound::memory);
}

void time_attention_of_frame(at::ScalarType type, std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t channels = 384;
  const at::Tensor qkv =
      at::randn({1, rows, columns, 3 * channels}, at::TensorOptions(at::kCUDA).dtype(type));
  const auto part = [&](int index) { return qkv.narrow(3, index * channels, channels); };
  const auto tokens = static_cast<double>(rows * columns);
  print_row(fmt::format("attention of a frame, {}", type == at::kFloat ? "fp32" : "fp16"),
            fmt::format("{} x {}, 1 head of {}", rows, columns, channels),
            median_ms([&] { vae::attend(part(0), part(1), part(2), /*tf32=*/true); }),
            4 * tokens * tokens * channels, bound_of(type));
}

}  // namespace

void time_autoencoder() {
  for (const VaeLayer& layer : {VaeLayer{"3x3x3", 16, 384, {3, 3, 3}, 1, 60, 104, false},
                                VaeLayer{"3x3x3", 384, 384, {3, 3, 3}, 1, 60, 104, true},
                                VaeLayer{"3x1x1", 384, 768, {3, 1, 1}, 1, 60, 104, false},
                                VaeLayer{"3x3", 384, 192, {1, 3, 3}, 2, 120, 208, false},
                                VaeLayer{"1x1", 192, 384, {1, 1, 1}, 2, 120, 208, false},
                                VaeLayer{"3x3x3", 192, 384, {3, 3, 3}, 2, 120, 208, false},
                                VaeLayer{"3x3x3", 384, 384, {3, 3, 3}, 2, 120, 208, true},
                                VaeLayer{"3x1x1", 384, 768, {3, 1, 1}, 2, 120, 208, false},
                                VaeLayer{"3x3", 384, 192, {1, 3, 3}, 4, 240, 416, false},
                                VaeLayer{"3x3x3", 192, 192, {3, 3, 3}, 4, 240, 416, false},
                                VaeLayer{"3x3x3", 192, 192, {3, 3, 3}, 4, 240, 416, true},
                                VaeLayer{"3x3", 192, 96, {1, 3, 3}, 4, 480, 832, false},
                                VaeLayer{"3x3x3", 96, 96, {3, 3, 3}, 4, 480, 832, false},
                                VaeLayer{"3x3x3", 96, 96, {3, 3, 3}, 4, 480, 832, true},
                                VaeLayer{"3x3x3", 96, 3, {3, 3, 3}, 4, 480, 832, false},
                                VaeLayer{"3x3x3", 3, 96, {3, 3, 3}, 4, 480, 832, false}}) {
    time_convolution(layer, at::kFloat);
    time_convolution(layer, at::kHalf);
  }
  time_tap_sums(4, 480, 832);
  for (const at::ScalarType type : {at::kFloat, at::kHalf}) {
    time_pixel_norm(type, 1, 60, 104, 384);
    time_pixel_norm(type, 2, 120, 208, 384);
    time_pixel_norm(type, 4, 240, 416, 192);
    time_pixel_norm(type, 4, 480, 832, 96);
    time_attention_of_frame(type, 60, 104);
    time_attention_of_frame(type, 90, 160);
  }
}

}  // namespace wan::timing
