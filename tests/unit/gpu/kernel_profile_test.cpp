#include "gpu/kernel_profile.h"

#include <gtest/gtest.h>

namespace wan::gpu {
namespace {

TEST(KernelProfile, NamesAreShort) {
  EXPECT_EQ(short_kernel_name("void wan::kernels::cuda::(anonymous namespace)::layer_norm_kernel<5, "
                              "__nv_bfloat16, float, true>(wan::kernels::cuda::LayerNormRows)"),
            "layer_norm_kernel<5, __nv_bfloat16, float, true>");
  EXPECT_EQ(short_kernel_name("void at::native::elementwise_kernel<128, 2, at::native::Copy<float>>(int)"),
            "elementwise_kernel<128, 2, Copy<float>>");
  EXPECT_EQ(short_kernel_name("Memcpy DtoH (Device -> Pinned)"), "Memcpy DtoH");
  EXPECT_EQ(short_kernel_name("nvjet_tst_128x256_64x4_2x1_v_bz_TNT"), "nvjet_tst_128x256_64x4_2x1_v_bz_TNT");
  EXPECT_EQ(short_kernel_name(std::string(100, 'a')), std::string(69, 'a') + "...");
}

TEST(KernelProfile, EqualNamesAreAddedTogether) {
  const auto sums = sum_by_name({{"b", 1, 2}, {"a", 1, 1}, {"b", 2, 3.5}, {"c", 1, 1}});
  ASSERT_EQ(sums.size(), 3U);
  EXPECT_EQ(sums[0].name, "b");
  EXPECT_EQ(sums[0].calls, 3);
  EXPECT_DOUBLE_EQ(sums[0].ms, 5.5);
  EXPECT_EQ(sums[1].name, "a");
  EXPECT_EQ(sums[2].name, "c");
}

TEST(KernelProfile, TheTableHasSharesAndOneRowForSmallUses) {
  const std::string table =
      kernel_table("a step", {{"big", 3, 750}, {"next", 2, 249.9}, {"x", 5, 0.06}, {"y", 6, 0.04}});
  EXPECT_TRUE(table.starts_with("a step\n"));
  EXPECT_NE(table.find(" 3     750.000   75.0\n"), std::string::npos) << table;
  EXPECT_NE(table.find(" 11       0.100    0.0\n"), std::string::npos) << table;
  EXPECT_NE(table.find(" 16    1000.000  100.0\n"), std::string::npos) << table;
  EXPECT_EQ(table.find("x  "), std::string::npos) << table;
}

}  // namespace
}  // namespace wan::gpu
