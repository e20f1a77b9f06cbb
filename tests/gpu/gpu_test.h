#pragma once

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

namespace wan::kernels {

/// A test that runs on the first GPU, and is skipped with a message if there is none. While it runs, a
/// kernel's result memory is first filled with NaN, so that an unwritten element shows.
class GpuTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;
};

/// |actual - expected| / |expected| in fp64 (Frobenius norms), on the CPU. Infinite if either is not finite.
double relative_error(const at::Tensor& actual, const at::Tensor& expected);

/// Expects bf16 `actual` to equal `expected` except for roundings to the other side. At most `share` of the
/// elements may differ, by at most two bf16 steps of their own size or of the typical size. Prints the count.
void expect_equal_but_for_roundings(const at::Tensor& actual, const at::Tensor& expected, double share,
                                    const char* what);

/// Random values with the sizes of activations: normal, every 17th column twenty times larger, not centred at
/// zero.
at::Tensor random_rows(at::IntArrayRef shape);

}  // namespace wan::kernels
