#include "kernels/convolution.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/check.h"

namespace wan::kernels {
namespace {

using Sizes = std::array<std::int64_t, 3>;

struct Case {
  std::int64_t in, out;
  Sizes kernel, input;
  ConvolutionShape shape;
};

const std::vector<Case> cases{
    {5, 7, {3, 3, 3}, {4, 6, 5}, {.before = {0, 1, 1}, .after = {0, 1, 1}}},
    {8, 8, {3, 3, 3}, {3, 4, 9}, {.before = {2, 0, 1}, .after = {0, 0, 1}}},
    {6, 4, {1, 3, 3}, {2, 8, 10}, {.stride = {1, 2, 2}, .after = {0, 1, 1}}},
    {6, 9, {3, 1, 1}, {5, 3, 4}, {.stride = {2, 1, 1}}},
    {16, 33, {1, 1, 1}, {2, 3, 4}, {}},
    {3, 24, {3, 3, 3}, {3, 5, 19}, {.before = {0, 0, 1}, .after = {0, 0, 1}}},
    {24, 3, {3, 3, 3}, {3, 5, 35}, {.before = {0, 0, 1}, .after = {0, 0, 1}}},
};

at::Tensor random(at::IntArrayRef sizes, at::ScalarType type = at::kDouble) {
  return at::randn(sizes, at::TensorOptions(at::kDouble)).to(type);
}

at::Tensor empty_for(const at::Tensor& x, const at::Tensor& weight, const ConvolutionShape& shape) {
  return at::empty(convolved_sizes(x, weight, shape), x.options());
}

/// The definition, value by value. stored: [out, in, kt, kh, kw].
double by_definition(const at::Tensor& x, const at::Tensor& stored, const ConvolutionShape& shape,
                     const std::array<std::int64_t, 4>& at) {
  const auto input = x.accessor<double, 4>();
  const auto weight = stored.accessor<double, 5>();
  double sum = 0;
  for (std::int64_t c = 0; c < stored.size(1); ++c) {
    for (std::int64_t t = 0; t < stored.size(2); ++t) {
      for (std::int64_t h = 0; h < stored.size(3); ++h) {
        for (std::int64_t w = 0; w < stored.size(4); ++w) {
          const std::int64_t f = at[0] * shape.stride[0] + t - shape.before[0];
          const std::int64_t y = at[1] * shape.stride[1] + h - shape.before[1];
          const std::int64_t z = at[2] * shape.stride[2] + w - shape.before[2];
          if (f < 0 || y < 0 || z < 0 || f >= x.size(0) || y >= x.size(1) || z >= x.size(2)) continue;
          sum += input[f][y][z][c] * weight[at[3]][c][t][h][w];
        }
      }
    }
  }
  return sum;
}

TEST(Convolution, IsItsDefinition) {
  for (const Case& item : cases) {
    const auto& k = item.kernel;
    const at::Tensor x = random({item.input[0], item.input[1], item.input[2], item.in});
    const at::Tensor stored = random({item.out, item.in, k[0], k[1], k[2]});
    const at::Tensor bias = random({item.out});
    const at::Tensor weight = convolution_weight(stored);
    const at::Tensor out = empty_for(x, weight, item.shape);
    const at::Tensor addend = random(out.sizes());
    convolve_out(out, x, weight, bias, item.shape, addend);
    const auto values = out.accessor<double, 4>();
    for (std::int64_t f = 0; f < out.size(0); ++f) {
      for (std::int64_t y = 0; y < out.size(1); ++y) {
        for (std::int64_t z = 0; z < out.size(2); ++z) {
          for (std::int64_t o = 0; o < out.size(3); ++o) {
            const double expected = by_definition(x, stored, item.shape, {f, y, z, o}) +
                                    bias[o].item<double>() + addend[f][y][z][o].item<double>();
            ASSERT_NEAR(values[f][y][z][o], expected, 1e-11);
          }
        }
      }
    }
  }
}

TEST(Convolution, FramesMayLieInSeveralTensors) {
  for (const at::ScalarType type : {at::kFloat, at::kHalf}) {
    const at::Tensor x = random({6, 5, 7, 8}, type);
    const at::Tensor weight = convolution_weight(random({8, 8, 3, 3, 3}, type));
    const at::Tensor bias = random({8}, at::kFloat);
    const ConvolutionShape shape{.before = {0, 1, 1}, .after = {0, 1, 1}};
    const at::Tensor whole = empty_for(x, weight, shape);
    convolve_out(whole, x, weight, bias, shape);
    const at::Tensor out = at::zeros_like(whole);
    convolve_pieces_out(out, {x.narrow(0, 0, 2).clone(), x.narrow(0, 2, 3), x.narrow(0, 5, 1).clone()},
                        weight, bias, shape);
    EXPECT_TRUE(at::equal(out, whole));
    EXPECT_THROW(convolve_pieces_out(out, std::vector<at::Tensor>(4, x), weight, bias, shape), Error);
  }
}

TEST(Convolution, IsAtensConvolution) {
  for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const at::Tensor x = random({3, 12, 21, 40}, type);
    const at::Tensor stored = random({48, 40, 3, 3, 3}, type);
    const at::Tensor bias = random({48}, at::kFloat);
    const ConvolutionShape shape{.before = {0, 1, 1}, .after = {0, 1, 1}};
    const at::Tensor weight = convolution_weight(stored);
    const at::Tensor out = at::empty(convolved_sizes(x, weight, shape), at::kFloat);
    convolve_out(out, x, weight, bias, shape);
    const at::Tensor expected = at::conv3d(x.to(at::kDouble).permute({3, 0, 1, 2}).unsqueeze(0),
                                           stored.to(at::kDouble), bias.to(at::kDouble), 1, {0, 1, 1})
                                    .squeeze(0)
                                    .permute({1, 2, 3, 0});
    // Sums of 1,080 products of size one, in fp32.
    EXPECT_LT((out.to(at::kDouble) - expected).abs().max().item<double>(), 1e-4);
    const at::Tensor rounded = at::empty(out.sizes(), type);
    convolve_out(rounded, x, weight, bias, shape);
    EXPECT_LE((rounded.to(at::kDouble) / expected - 1).abs().median().item<double>(),
              type == at::kFloat ? 1e-6 : 4e-3);
  }
}

TEST(Convolution, ReadsAndWritesPartsOfLargerTensors) {
  const at::Tensor whole = random({6, 10, 9, 8});
  const at::Tensor weight = convolution_weight(random({8, 8, 3, 3, 3}));
  const at::Tensor bias = random({8});
  const ConvolutionShape shape{.before = {0, 0, 1}, .after = {0, 0, 1}};
  const at::Tensor expected = empty_for(whole, weight, shape);  // [4, 8, 9, 8]
  convolve_out(expected, whole, weight, bias, shape);
  const at::Tensor made = at::zeros_like(expected);
  for (const auto& [first, count] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 3}, {3, 1}, {4, 4}})
    convolve_out(made.narrow(1, first, count), whole.narrow(1, first, count + 2), weight, bias, shape);
  EXPECT_LE((made - expected).abs().max().item<double>(), 1e-12);
  const at::Tensor sum = whole.slice(0, 2).narrow(1, 1, 8).contiguous();
  const at::Tensor start = sum.clone();
  convolve_out(sum, whole, weight, bias, shape, sum);
  EXPECT_LE((sum - start - expected).abs().max().item<double>(), 1e-12);
}

TEST(Convolution, BitsDependNeitherOnThePartNorOnThreads) {
  const int threads = at::get_num_threads();
  for (const std::int64_t channels : {3, 40, 96}) {
    const at::Tensor x = random({5, 13, 37, channels}, at::kFloat);
    const at::Tensor weight = convolution_weight(random({channels, channels, 3, 3, 3}, at::kFloat));
    const at::Tensor bias = random({channels}, at::kFloat);
    const ConvolutionShape shape{.before = {0, 0, 1}, .after = {0, 0, 1}};
    const at::Tensor whole = empty_for(x, weight, shape);  // [3, 11, 37, channels]
    at::set_num_threads(1);
    convolve_out(whole, x, weight, bias, shape);
    const at::Tensor whole_norm = at::empty_like(whole);
    rms_norm_silu_out(whole_norm, whole, bias);
    at::set_num_threads(2);
    for (const std::int64_t rows : {1, 2, 5, 11}) {
      for (std::int64_t first = 0; first < 11; first += rows) {
        const std::int64_t count = std::min<std::int64_t>(rows, 11 - first);
        const at::Tensor made = at::empty({3, count, 37, channels}, whole.options());
        convolve_out(made, x.narrow(1, first, count + 2), weight, bias, shape);
        EXPECT_TRUE(made.equal(whole.narrow(1, first, count))) << channels << " channels, row " << first;
        rms_norm_silu_out(made, made.clone(), bias);
        EXPECT_TRUE(made.equal(whole_norm.narrow(1, first, count))) << channels << " channels, row " << first;
      }
    }
  }
  at::set_num_threads(threads);
}

TEST(Convolution, OfOutlinesHasTheSizesOnly) {
  const at::Tensor x = at::empty({3, 4, 5, 6}, at::kMeta);
  const at::Tensor weight = convolution_weight(at::empty({7, 6, 3, 3}, at::kMeta));
  EXPECT_EQ(weight.sizes(), (std::vector<std::int64_t>{7, 1, 3, 3, 6}));
  const at::Tensor out = empty_for(x, weight, {.stride = {1, 2, 2}, .after = {0, 1, 1}});
  EXPECT_EQ(out.sizes(), (std::vector<std::int64_t>{3, 2, 2, 7}));
  convolve_out(out, x, weight, at::empty({7}, at::kMeta), {.stride = {1, 2, 2}, .after = {0, 1, 1}});
  rms_norm_silu_out(x, x, at::empty({6}, at::kMeta));
}

TEST(RmsNormSilu, IsItsFormula) {
  const at::Tensor x = random({2, 3, 5, 12});
  x[0][0][0].zero_();
  x[0][0][1].fill_(1e-14);  // below the least norm
  const at::Tensor gamma = random({12});
  const at::Tensor window = at::zeros({4, 5, 5, 12}, at::kDouble);
  const at::Tensor out = window.narrow(0, 2, 2).narrow(1, 1, 3);
  rms_norm_silu_out(out, x, gamma);
  const at::Tensor normed = x / x.square().sum(3, true).sqrt().clamp_min(1e-12) * std::sqrt(12.0) * gamma;
  EXPECT_LE((out - normed * normed.sigmoid()).abs().max().item<double>(), 1e-13);
  EXPECT_TRUE(window.narrow(0, 0, 2).eq(0).all().item<bool>());
  const at::Tensor alone = at::empty_like(x);
  rms_norm_silu_out(alone, x, gamma, /*silu=*/false);
  EXPECT_LE((alone - normed).abs().max().item<double>(), 1e-13);
}

TEST(RmsNormSilu, OfSixteenBitsIsRoundedOnce) {
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    const at::Tensor x = random({1, 2, 3, 96}, type);
    const at::Tensor gamma = random({96}, at::kFloat);
    const at::Tensor narrow = at::empty_like(x);
    const at::Tensor wide = at::empty(x.sizes(), at::kFloat);
    rms_norm_silu_out(narrow, x, gamma);
    rms_norm_silu_out(wide, x, gamma);
    EXPECT_TRUE(narrow.equal(wide.to(type)));
  }
}

}  // namespace
}  // namespace wan::kernels
