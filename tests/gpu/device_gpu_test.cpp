#include <ATen/ATen.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/check.h"
#include "gpu/gpu_test.h"
#include "gpu/kernel_profile.h"
#include "gpu/late_copy.h"
#include "gpu/memory.h"
#include "kernels/residual.h"

namespace wan::gpu {
namespace {

using DeviceGpu = kernels::GpuTest;

TEST_F(DeviceGpu, LateCopiesHaveTheirValuesAndKeepThem) {
  LateCopy copies;
  std::vector<at::Tensor> made;
  std::vector<at::Tensor> copied;
  for (const std::int64_t count : {3, 1000, 1 << 20, 17}) {
    made.push_back(at::randint(0, 256, {count, 5}, at::TensorOptions(at::kCUDA).dtype(at::kByte)));
    if (copies.is_under_way()) copied.push_back(copies.finish());
    copies.begin(made.back(), 40);
  }
  copied.push_back(copies.finish());
  EXPECT_FALSE(copies.is_under_way());
  ASSERT_EQ(copied.size(), made.size());
  for (std::size_t i = 0; i < made.size(); ++i) EXPECT_TRUE(at::equal(copied[i], made[i].cpu())) << i;
}

TEST_F(DeviceGpu, LateCopiesRefuseTwoAtOnce) {
  LateCopy copies;
  const at::Tensor values = at::ones({5}, at::kCUDA);
  copies.begin(values, 5);
  EXPECT_THROW(copies.begin(values, 5), Error);
  EXPECT_TRUE(at::equal(copies.finish(), values.cpu()));
  EXPECT_THROW(copies.finish(), Error);
}

/// Both ways to page-lock memory: from 64 MiB on the threads of the process make it.
TEST_F(DeviceGpu, PageLockedMemoryOfAnySizeIsCopied) {
  for (const std::int64_t bytes : {std::int64_t{1}, std::int64_t{1} << 20, (std::int64_t{65} << 20) + 3}) {
    SCOPED_TRACE(testing::Message() << bytes << " bytes");
    const at::Tensor host = make_pinned({bytes}, at::kByte);
    ASSERT_EQ(host.numel(), bytes);
    EXPECT_TRUE(host.is_pinned());
    const at::Tensor values = at::randint(0, 256, {bytes}, at::TensorOptions(at::kCUDA).dtype(at::kByte));
    host.copy_(values);
    EXPECT_TRUE(at::equal(host.cuda(), values));
    EXPECT_TRUE(at::equal(host, values.cpu()));
  }
}

TEST_F(DeviceGpu, RoomIsFoundToTheLastGigabyte) {
  release_unused();
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  ASSERT_EQ(cudaMemGetInfo(&free_bytes, &total_bytes), cudaSuccess);
  const auto all = static_cast<std::int64_t>(free_bytes);
  constexpr std::int64_t gibibyte = std::int64_t{1} << 30;
  EXPECT_TRUE(has_room(0));
  EXPECT_TRUE(has_room(all / 2));
  EXPECT_TRUE(has_room(all - gibibyte));  // takes it
  EXPECT_FALSE(has_room(all + gibibyte));
  EXPECT_FALSE(has_room(static_cast<std::int64_t>(total_bytes)));
  EXPECT_LT(memory_use(0).reserved_bytes, static_cast<std::uint64_t>(gibibyte)) << "all is given back";
}

TEST_F(DeviceGpu, AProfileHasTheKernelsThatRan) {
  at::Tensor x = at::zeros({64, 512}, at::kCUDA);
  const at::Tensor y = at::ones({64, 512}, x.options());
  const at::Tensor gate = at::ones({512}, x.options());
  KernelProfile profile;
  for (int call = 0; call < 3; ++call) kernels::add_gated(x, y, gate);
  const std::vector<KernelUse> uses = profile.stop();
  const auto found = std::ranges::find_if(
      uses, [](const KernelUse& use) { return use.name.starts_with("add_gated_kernel"); });
  if (uses.empty()) GTEST_SKIP() << "CUPTI may not record on this machine";
  ASSERT_NE(found, uses.end());
  EXPECT_EQ(found->calls, 3);
  EXPECT_GT(found->ms, 0);
}

}  // namespace
}  // namespace wan::gpu
