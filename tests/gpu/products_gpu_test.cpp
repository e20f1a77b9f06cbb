#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ostream>
#include <vector>

#include "gpu/gpu_test.h"
#include "kernels/cuda/product_kernel.h"
#include "kernels/cuda/products.h"
#include "kernels/linear.h"
#include "kernels/product_measurement.h"

namespace wan::kernels {
namespace {

struct ProductCase {
  std::int64_t in, out;
  ProductEnd end;
  at::ScalarType type = at::kBFloat16;
};
void PrintTo(const ProductCase& c, std::ostream* out) {
  *out << describe({.type = c.type, .out = c.out, .in = c.in, .end = c.end});
}

class ProductGpu : public GpuTest, public testing::WithParamInterface<ProductCase> {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    if (at::cuda::getCurrentDeviceProperties()->major != 9) GTEST_SKIP() << "no Hopper GPU";
    const auto [in, out, end, type] = GetParam();
    x_ = at::randn({rows, in}, at::kCUDA).to(type);
    weight_ = (at::randn({out, in}, at::kCUDA) / std::sqrt(static_cast<double>(in))).to(type);
    if (end != ProductEnd::plain) bias_ = at::randn({out}, at::kCUDA).to(type);
  }

  at::Tensor compute(const at::Tensor& x) const {
    return GetParam().end == ProductEnd::gelu ? linear_gelu(x, weight_, bias_) : linear(x, weight_, bias_);
  }

  static constexpr std::int64_t rows = 8190;
  at::Tensor x_, weight_, bias_;  ///< [rows, in], [out, in], [out]
};

TEST_P(ProductGpu, GivesARowTheSameBitsWhateverTheNumberOfRows) {
  ASSERT_TRUE(cuda::takes_product(x_, weight_, bias_, GetParam().end));
  const at::Tensor all = compute(x_);
  for (const std::int64_t count : {1, 2, 77, 128, 512, 1000, 1365, 2730, 4095, 8189}) {
    for (const std::int64_t first : {std::int64_t{0}, rows - count}) {
      EXPECT_TRUE(at::equal(compute(x_.narrow(0, first, count)), all.narrow(0, first, count)))
          << count << " rows from " << first << " on";
    }
  }
}

TEST_P(ProductGpu, TakesRowsThatLieApart) {
  const std::int64_t in = GetParam().in;
  const at::Tensor wide = at::full({rows, in + 8}, NAN, x_.options());
  wide.narrow(1, 0, in).copy_(x_);
  ASSERT_TRUE(cuda::takes_product(wide.narrow(1, 0, in), weight_, bias_, GetParam().end));
  EXPECT_TRUE(at::equal(compute(wide.narrow(1, 0, in)), compute(x_)));
}

/// The choice of a kernel then changes times, never a video.
TEST_P(ProductGpu, HasTheSameBitsFromEveryKernel) {
  const auto [in, out, end, type] = GetParam();
  const at::Tensor expected = compute(x_);
  const cuda::ProductKernels kernels =
      cuda::cublas_lt_kernels({.type = type, .out = out, .in = in, .end = end});
  ASSERT_FALSE(kernels.empty());
  std::printf("  %zu kernels\n", kernels.size());
  for (const auto& kernel : kernels) {
    const at::Tensor result = at::full({rows, out}, NAN, x_.options());
    kernel->launch({.out = result.mutable_data_ptr(),
                    .x = x_.const_data_ptr(),
                    .weight = weight_.const_data_ptr(),
                    .bias = bias_.defined() ? bias_.const_data_ptr() : nullptr,
                    .rows = rows,
                    .x_stride = in});
    EXPECT_TRUE(at::equal(result, expected)) << kernel->name();
  }
}

TEST_P(ProductGpu, IsRoundedAsTheLibraryOfTensorsRounds) {
  if (GetParam().type != at::kBFloat16) GTEST_SKIP() << "counts roundings of bf16";
  const at::Tensor by_aten =
      GetParam().end == ProductEnd::gelu
          ? at::_addmm_activation(bias_, x_, weight_.t(), /*beta=*/1, /*alpha=*/1, /*use_gelu=*/true)
          : at::linear(x_, weight_, bias_);
  constexpr double share = 1e-2;  // its sums may have another order
  expect_equal_but_for_roundings(compute(x_), by_aten, share, "against ATen's product");
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, ProductGpu,
    testing::Values(ProductCase{5120, 15360, ProductEnd::bias}, ProductCase{5120, 5120, ProductEnd::bias},
                    ProductCase{5120, 13824, ProductEnd::gelu}, ProductCase{13824, 5120, ProductEnd::bias},
                    ProductCase{144, 5120, ProductEnd::bias}, ProductCase{96, 288, ProductEnd::plain},
                    ProductCase{3072, 14336, ProductEnd::gelu, at::kHalf},
                    ProductCase{1536, 4608, ProductEnd::bias, at::kHalf}));

class ProductTableGpu : public GpuTest {};

/// A name that the library no longer has would fall back to its first choice in silence.
TEST_F(ProductTableGpu, NamesKernelsThatTheLibraryHas) {
  if (at::cuda::getCurrentDeviceProperties()->major != 9) GTEST_SKIP() << "no Hopper GPU";
  const ProductMachine machine = cuda::product_machine();
  const ProductChoices choices = shipped_product_choices(machine);
  std::printf("  %zu choices for %s, %d multiprocessors, cuBLASLt %lld\n", choices.size(),
              machine.gpu.c_str(), machine.multiprocessors, static_cast<long long>(machine.cublas_lt));
  for (const auto& [shape, by_rows] : choices) {
    const cuda::ProductKernels kernels = cuda::cublas_lt_kernels(shape);
    for (const auto& [rows, name] : by_rows) {
      EXPECT_TRUE(std::ranges::any_of(
          kernels, [&wanted = name](const auto& kernel) { return kernel->name() == wanted; }))
          << describe(shape) << " for " << rows << " rows: " << name;
    }
  }
}

TEST_F(ProductTableGpu, ComesFromAMeasurementOfKernelsWithTheSameBits) {
  if (at::cuda::getCurrentDeviceProperties()->major != 9) GTEST_SKIP() << "no Hopper GPU";
  const std::vector<std::int64_t> rows{4096, 1000};
  const ProductShape shape{.type = at::kBFloat16, .out = 5120, .in = 1024, .end = ProductEnd::bias};
  const MeasuredProduct measured = measure_product(
      shape, rows, at::kCUDA, {.warm_up_s = 0.05, .settling_s = 1e-3, .timed_s = 2e-3, .rounds = 3});
  std::printf("%s", product_table(std::vector{measured}).c_str());
  EXPECT_EQ(measured.other_bits, 0);
  EXPECT_GT(measured.kernels.size(), 1U);
  EXPECT_EQ(choices_of(measured).size(), rows.size());
  EXPECT_EQ(measured.kernels.front().kernel, cuda::cublas_lt_kernels(shape).front()->name());
  for (const KernelTimes& kernel : measured.kernels) {
    ASSERT_EQ(kernel.seconds.size(), rows.size());
    EXPECT_GT(kernel.seconds[0], kernel.seconds[1]) << kernel.kernel;
  }
}

}  // namespace
}  // namespace wan::kernels
