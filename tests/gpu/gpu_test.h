#pragma once

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

namespace wan::kernels {

/// A test that runs on the first GPU, and is skipped with a message where there is none. While it runs,
/// memory that a kernel allocates for its result is filled with NaN first: an element that is not written
/// shows.
class GpuTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;
};

/// |actual - expected| / |expected| in fp64 (Frobenius norms), on the CPU; infinite when either is not
/// finite.
double relative_error(const at::Tensor& actual, const at::Tensor& expected);

/// Expects bf16 `actual` to be `expected` but for roundings that fell to the other side: not more than
/// `share` of the elements differ, and those by not more than two bf16 steps of their own or of the typical
/// size. Prints the count.
void expect_equal_but_for_roundings(const at::Tensor& actual, const at::Tensor& expected, double share,
                                    const char* what);

/// Random values of the sizes of activations: normal, every 17th column twenty times larger, off zero.
at::Tensor random_rows(at::IntArrayRef shape);

}  // namespace wan::kernels
