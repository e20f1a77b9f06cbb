#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>

#include <array>
#include <cmath>
#include <string>

#include "gpu/gpu_test.h"
#include "kernels/convolution.h"

namespace wan::kernels {
namespace {

constexpr double tensor_core_sums = 3e-5;  // of rounded factors: the tensor cores cut what they add
constexpr double fp32_sums = 2e-6;
constexpr double fp16_result = 5e-4;  // one rounding: 2^-11 at most
constexpr double bf16_result = 4e-3;  // 2^-8 at most

using Three = std::array<std::int64_t, 3>;

/// A convolution of the autoencoders, at a size with tiles that are not full.
struct Case {
  const char* name;
  Three sizes;  ///< of the input: frames, rows, columns
  std::int64_t in, out;
  Three kernel;
  Three stride{1, 1, 1}, before{0, 0, 0}, after{0, 0, 0};

  ConvolutionShape shape() const {
    return {.stride = stride, .before = before, .after = after, .tf32 = true};
  }
};

const Case cases[] = {
    {"latent", {4, 13, 29}, 16, 384, {3, 3, 3}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}},
    {"deep", {3, 13, 29}, 384, 384, {3, 3, 3}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}},
    {"full", {5, 35, 50}, 96, 96, {3, 3, 3}, {1, 1, 1}, {2, 1, 1}, {0, 1, 1}},
    {"halo", {4, 18, 21}, 192, 192, {3, 3, 3}, {1, 1, 1}, {0, 0, 1}, {0, 0, 1}},
    {"plane", {2, 17, 33}, 192, 96, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}},
    {"time", {4, 9, 17}, 384, 768, {3, 1, 1}},
    {"point", {2, 9, 17}, 192, 384, {1, 1, 1}},
    {"half_plane", {2, 18, 34}, 96, 96, {1, 3, 3}, {1, 2, 2}, {0, 0, 0}, {0, 1, 1}},
    {"half_time", {5, 9, 17}, 192, 192, {3, 1, 1}, {2, 1, 1}},
    {"pixels", {4, 20, 19}, 3, 96, {3, 3, 3}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}},
    {"patches", {4, 20, 19}, 12, 160, {3, 3, 3}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}},
    {"head", {4, 20, 19}, 96, 3, {3, 3, 3}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}},
    {"patch_head", {3, 20, 19}, 256, 12, {3, 3, 3}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}},
    {"moments", {3, 9, 17}, 640, 96, {3, 3, 3}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}},
    {"wide22", {3, 9, 17}, 256, 256, {3, 3, 3}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}},
    {"odd22", {3, 9, 17}, 160, 320, {3, 3, 3}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}},
};

bool on_hopper() {
  const auto* properties = at::cuda::getCurrentDeviceProperties();
  return properties->major == 9 && properties->minor == 0;
}

/// fp32 values as the kernel takes them: 10 bits after the point, to the nearest, ties to even.
at::Tensor tf32(const at::Tensor& x) {
  const at::Tensor bits = x.view(at::kInt);
  const at::Tensor odd = bits.bitwise_right_shift(13).bitwise_and(1);
  return (bits + 0xFFF + odd).bitwise_and(-0x2000).view(at::kFloat);
}

/// In fp64, of the values as they are.
at::Tensor reference(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     const ConvolutionShape& s) {
  const at::Tensor padded = at::constant_pad_nd(
      x.to(at::kDouble), {0, 0, s.before[2], s.after[2], s.before[1], s.after[1], s.before[0], s.after[0]});
  const auto sizes = convolved_sizes(x, weight, s);
  at::Tensor sum = bias.to(at::kDouble).expand(at::IntArrayRef(sizes)).clone();
  const at::Tensor taps = weight.to(at::kDouble);
  for (std::int64_t t = 0; t < weight.size(1); ++t) {
    for (std::int64_t r = 0; r < weight.size(2); ++r) {
      for (std::int64_t c = 0; c < weight.size(3); ++c) {
        at::Tensor window = padded;
        const Three first{t, r, c};
        for (int axis = 0; axis < 3; ++axis) {
          const std::int64_t last = first.at(axis) + (sizes.at(axis) - 1) * s.stride.at(axis) + 1;
          window = window.slice(axis, first.at(axis), last, s.stride.at(axis));
        }
        sum += at::matmul(window, taps.select(1, t).select(1, r).select(1, c).t());
      }
    }
  }
  return sum;
}

class ConvolutionGpu : public GpuTest, public testing::WithParamInterface<Case> {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    const Case& c = GetParam();
    const at::TensorOptions gpu(at::kCUDA);
    x_ = at::randn({c.sizes[0], c.sizes[1], c.sizes[2], c.in}, gpu);
    const std::int64_t terms = c.in * c.kernel[0] * c.kernel[1] * c.kernel[2];
    weight_ = at::randn({c.out, c.kernel[0], c.kernel[1], c.kernel[2], c.in}, gpu) /
              std::sqrt(static_cast<double>(terms));
    bias_ = at::randn({c.out}, gpu);
  }

  at::Tensor convolved(const at::Tensor& x, const at::Tensor& weight, const ConvolutionShape& shape,
                       const at::Tensor& addend = {}) const {
    const at::Tensor out = at::empty(at::IntArrayRef(convolved_sizes(x, weight, shape)), x.options());
    convolve_out(out, x, weight, bias_, shape, addend);
    return out;
  }

  at::Tensor x_, weight_, bias_;
};

TEST_P(ConvolutionGpu, IsTheSumOfRoundedFactors) {
  const ConvolutionShape shape = GetParam().shape();
  const at::Tensor expected = reference(tf32(x_), tf32(weight_), bias_, shape);
  const at::Tensor addend = at::randn(expected.sizes(), x_.options());
  if (on_hopper()) {  // other GPUs choose their own rounding
    EXPECT_LT(relative_error(convolved(x_, weight_, shape), expected), tensor_core_sums);
    EXPECT_LT(relative_error(convolved(x_, weight_, shape, addend), expected + addend), tensor_core_sums);
  }
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    const at::Tensor x = x_.to(type);
    const at::Tensor weight = weight_.to(type);
    const at::Tensor exact = reference(x, weight, bias_, shape);
    const double allowed = type == at::kHalf ? fp16_result : bf16_result;
    EXPECT_LT(relative_error(convolved(x, weight, shape), exact), allowed);
    const at::Tensor half = addend.to(type);
    EXPECT_LT(relative_error(convolved(x, weight, shape, half), exact + half), allowed);
    const at::Tensor wide = at::empty(exact.sizes(), x_.options());
    convolve_out(wide, x, weight, bias_, shape, {});
    EXPECT_LT(relative_error(wide, exact), tensor_core_sums);
  }
}

TEST_P(ConvolutionGpu, KeepsFp32WithoutTf32) {
  ConvolutionShape shape = GetParam().shape();
  shape.tf32 = false;
  EXPECT_LT(relative_error(convolved(x_, weight_, shape), reference(x_, weight_, bias_, shape)), fp32_sums);
}

TEST_P(ConvolutionGpu, ReadsAndWritesPartsOfLargerTensors) {
  const ConvolutionShape shape = GetParam().shape();
  const at::Tensor expected = convolved(x_, weight_, shape);
  const auto within = [](const at::Tensor& memory, at::IntArrayRef sizes) {
    return memory.slice(0, 1, 1 + sizes[0]).slice(1, 2, 2 + sizes[1]).slice(2, 1, 1 + sizes[2]);
  };
  const auto around = [&](at::IntArrayRef sizes) {
    return at::full({sizes[0] + 2, sizes[1] + 3, sizes[2] + 2, sizes[3]}, NAN, x_.options());
  };
  const at::Tensor in_memory = around(x_.sizes());
  const at::Tensor out_memory = around(expected.sizes());
  const at::Tensor x = within(in_memory, x_.sizes());
  const at::Tensor out = within(out_memory, expected.sizes());
  x.copy_(x_);
  convolve_out(out, x, weight_, bias_, shape, {});
  EXPECT_TRUE(at::equal(out, expected));
  EXPECT_EQ(out_memory.isnan().sum().item<std::int64_t>(), out_memory.numel() - out.numel());
  out.fill_(1);
  convolve_out(out, x, weight_, bias_, shape, out);  // the addend is the result's own memory
  EXPECT_TRUE(at::equal(out, convolved(x_, weight_, shape, at::ones_like(expected))));
}

TEST_P(ConvolutionGpu, BitsDoNotDependOnWhichPartIsComputed) {
  if (!on_hopper()) GTEST_SKIP() << "only the kernel for Hopper GPUs promises it";
  for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const at::Tensor x = x_.to(type);
    const at::Tensor weight = weight_.to(type);
    ConvolutionShape shape = GetParam().shape();
    const at::Tensor whole = convolved(x, weight, shape);
    const at::Tensor padded = at::constant_pad_nd(x, {0, 0, shape.before[2], shape.after[2], shape.before[1],
                                                      shape.after[1], shape.before[0], shape.after[0]});
    shape.before = shape.after = {0, 0, 0};
    EXPECT_TRUE(at::equal(convolved(padded, weight, shape), whole));
    for (int axis = 0; axis < 3; ++axis) {
      const std::int64_t size = whole.size(axis);
      const std::int64_t reach = weight.size(axis + 1) - 1;
      const std::int64_t stride = shape.stride.at(axis);
      for (const std::int64_t cut : {size / 2, size / 3, std::int64_t{1}}) {
        if (cut < 1 || cut >= size) continue;
        const at::Tensor first = padded.slice(axis, 0, (cut - 1) * stride + reach + 1);
        const at::Tensor second = padded.slice(axis, cut * stride);
        EXPECT_TRUE(at::equal(convolved(first, weight, shape), whole.slice(axis, 0, cut)))
            << axis << " " << cut;
        EXPECT_TRUE(at::equal(convolved(second, weight, shape), whole.slice(axis, cut)))
            << axis << " " << cut;
      }
    }
  }
}

TEST_P(ConvolutionGpu, FramesMayLieInSeveralTensors) {
  const ConvolutionShape shape = GetParam().shape();
  for (const at::ScalarType type : {at::kFloat, at::kHalf}) {
    const at::Tensor x = x_.to(type);
    const at::Tensor weight = weight_.to(type);
    const at::Tensor whole = convolved(x, weight, shape);
    const auto memory = [&](std::int64_t first, std::int64_t count) {  // rows of a larger tensor
      const at::Tensor larger = at::full({count, x.size(1) + 2, x.size(2), x.size(3)}, NAN, x.options());
      larger.narrow(1, 1, x.size(1)).copy_(x.narrow(0, first, count));
      return larger.narrow(1, 1, x.size(1));
    };
    for (const std::int64_t first : {1, 2}) {
      const std::int64_t rest = x.size(0) - first;
      if (rest < 1) continue;
      const at::Tensor out = at::full_like(whole, NAN);
      convolve_pieces_out(out, {memory(0, first), memory(first, rest)}, weight, bias_, shape);
      EXPECT_TRUE(at::equal(out, whole)) << first;
      if (rest < 2) continue;
      out.fill_(NAN);
      convolve_pieces_out(out, {memory(0, first), memory(first, 1), memory(first + 1, rest - 1)}, weight,
                          bias_, shape);
      EXPECT_TRUE(at::equal(out, whole)) << first;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Autoencoder, ConvolutionGpu, testing::ValuesIn(cases),
                         [](const auto& test_case) { return std::string(test_case.param.name); });

class PixelNormGpu : public GpuTest, public testing::WithParamInterface<std::int64_t> {};

TEST_P(PixelNormGpu, IsTheNormWhateverThePosition) {
  const std::int64_t channels = GetParam();
  const at::Tensor wide = random_rows({3 * 5 * 19, channels}).view({3, 5, 19, channels}).cuda();
  wide[1][2][3].zero_();
  const at::Tensor gamma = at::randn({channels}, wide.options());
  for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const at::Tensor x = wide.to(type);
    const double allowed = type == at::kFloat ? 1e-6 : (type == at::kHalf ? fp16_result : bf16_result);
    for (const bool silu : {true, false}) {
      const at::Tensor exact = x.to(at::kDouble);
      const at::Tensor norm =
          at::linalg_vector_norm(exact, 2, at::IntArrayRef{3}, /*keepdim=*/true).clamp_min(1e-12);
      const at::Tensor normed = exact / norm * std::sqrt(static_cast<double>(channels)) * gamma;
      const at::Tensor window = at::full({5, 7, 19, channels}, NAN, x.options());
      const at::Tensor out = window.narrow(0, 2, 3).narrow(1, 1, 5);
      rms_norm_silu_out(out, x, gamma, silu);
      EXPECT_LT(relative_error(out, silu ? at::silu(normed) : normed), allowed);
      EXPECT_EQ(window.isnan().sum().item<std::int64_t>(), window.numel() - out.numel());
      const at::Tensor part = at::empty({3, 2, 7, channels}, x.options());
      rms_norm_silu_out(part, x.narrow(1, 2, 2).narrow(2, 5, 7), gamma, silu);
      EXPECT_TRUE(at::equal(part, out.narrow(1, 2, 2).narrow(2, 5, 7)));
      const at::Tensor unrounded = at::full(x.sizes(), NAN, wide.options());
      rms_norm_silu_out(unrounded, x, gamma, silu);
      EXPECT_LT(relative_error(unrounded, silu ? at::silu(normed) : normed), 1e-6);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Autoencoder, PixelNormGpu,
                         testing::Values(std::int64_t{96}, 160, 192, 256, 320, 384, 512, 640, 1024));

}  // namespace
}  // namespace wan::kernels
