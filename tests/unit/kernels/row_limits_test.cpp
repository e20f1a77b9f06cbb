#include "kernels/row_limits.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>

namespace wan::kernels {
namespace {

at::Tensor rows(std::int64_t tokens, std::int64_t dim, at::ScalarType type = at::kFloat) {
  return at::zeros({tokens, dim}, type);
}

TEST(RowLimits, WhatTheRowKernelsTake) {
  EXPECT_TRUE(fits_row_kernels(rows(3, 8)));
  EXPECT_TRUE(fits_row_kernels(rows(3, 5120, at::kBFloat16)));
  EXPECT_TRUE(fits_row_kernels(rows(3, 5120, at::kHalf)));
  EXPECT_TRUE(fits_row_kernels(rows(1, max_row)));
  EXPECT_TRUE(fits_row_kernels(rows(4, 24).narrow(1, 8, 16)));  // strided rows, aligned
}

TEST(RowLimits, WhatGoesToATen) {
  EXPECT_FALSE(fits_row_kernels(rows(3, 12)));
  EXPECT_FALSE(fits_row_kernels(rows(3, 36)));  // 3 heads of 12
  EXPECT_FALSE(fits_row_kernels(rows(1, max_row + row_multiple)));
  EXPECT_FALSE(fits_row_kernels(rows(4, 24).narrow(1, 4, 16).narrow(1, 1, 8)));  // not aligned
  EXPECT_FALSE(fits_row_kernels(rows(8, 8).t()));
  EXPECT_FALSE(
      fits_row_kernels(rows(4, 12).narrow(1, 0, 8)));  // 48 bytes from row to row: aligned, but 12 elements
  EXPECT_FALSE(fits_row_kernels(at::zeros({4, 8}, at::kDouble)));
  EXPECT_FALSE(fits_row_kernels(at::zeros({8})));
}

TEST(RowLimits, HeadsOfTheQkvKernel) {
  const auto fits = [](std::int64_t heads, std::int64_t head_dim) {
    return fits_qkv_kernel(rows(5, 3 * heads * head_dim), std::array{at::zeros({1, 5, 3, heads, head_dim})});
  };
  EXPECT_TRUE(fits(4, 24));
  EXPECT_FALSE(fits(4, 12));  // dim is a multiple of 8, a head is not
  EXPECT_FALSE(fits(3, 12));
  const std::vector<at::Tensor> too_many(static_cast<std::size_t>(max_head_chunks) + 1,
                                         at::zeros({1, 5, 3, 1, 8}));
  EXPECT_FALSE(fits_qkv_kernel(rows(5, 3 * 8 * (max_head_chunks + 1)), too_many));
}

TEST(RowLimits, HeadsOfTheEfficientAttention) {
  EXPECT_TRUE(fits_efficient_attention(at::kFloat, 12));
  EXPECT_TRUE(fits_efficient_attention(at::kFloat, 384));
  EXPECT_TRUE(fits_efficient_attention(at::kBFloat16, 24));
  EXPECT_FALSE(fits_efficient_attention(at::kBFloat16, 12));
  EXPECT_FALSE(fits_efficient_attention(at::kFloat, 6));
}

}  // namespace
}  // namespace wan::kernels
