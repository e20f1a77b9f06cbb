#include "doctor/gpu_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "findings.h"

namespace wan::doctor {
namespace {

using test::verdict_of;
using test::worst_of;
using ::testing::HasSubstr;

constexpr std::uint64_t gib = std::uint64_t{1} << 30;

GpuFacts gpu(int index) {
  GpuFacts facts;
  facts.index = index;
  facts.info = gpu::DeviceInfo{.index = index,
                               .name = "NVIDIA H200",
                               .bus_id = "0000:1b:00.0",
                               .total_bytes = 140 * gib,
                               .free_bytes = 139 * gib,
                               .compute_major = 9,
                               .compute_minor = 0};
  return facts;
}

/// A node with two good GPUs.
GpusFacts good() {
  return {.is_built_in = true,
          .has_driver = true,
          .code_for = "80-real,86-real,89-real,90a-real",
          .visible = {.count = 2, .reason = {}},
          .versions = {.driver = 13000, .runtime = 13000},
          .gpus = {gpu(0), gpu(1)}};
}

TEST(GpuChecks, GoodOnesAreFine) {
  const std::vector<Finding> findings = check_gpus(good());
  EXPECT_TRUE(test::all_ok(findings));
  EXPECT_TRUE(test::has_remedies(findings));
  EXPECT_THAT(worst_of(findings, "GPU 1").found,
              HasSubstr("NVIDIA H200, compute capability 9.0, 139.0 of 140.0 GiB free"));
}

TEST(GpuChecks, NoGpu) {
  GpusFacts facts;
  EXPECT_EQ(verdict_of(check_gpus(facts), "GPUs"), Verdict::warn);
  EXPECT_THAT(worst_of(check_gpus(facts), "GPUs").found, HasSubstr("on the CPU"));
  facts.has_driver = true;
  EXPECT_THAT(worst_of(check_gpus(facts), "GPUs").remedy, HasSubstr("-DWAN_CUDA=ON"));
  facts.is_built_in = true;
  facts.visible.reason = "the driver supports CUDA 12.2, LibTorch needs 13.0: update the driver";
  EXPECT_EQ(verdict_of(check_gpus(facts), "GPUs"), Verdict::fail);
  EXPECT_THAT(worst_of(check_gpus(facts), "GPUs").found, HasSubstr("12.2"));
  facts.has_driver = false;
  EXPECT_EQ(verdict_of(check_gpus(facts), "GPUs"), Verdict::warn);
  EXPECT_TRUE(test::has_remedies(check_gpus(facts)));
}

TEST(GpuChecks, ADriverThatIsTooOld) {
  GpusFacts facts = good();
  facts.versions.driver = 12020;
  EXPECT_EQ(verdict_of(check_gpus(facts), "CUDA driver"), Verdict::fail);
  EXPECT_THAT(worst_of(check_gpus(facts), "CUDA driver").found, HasSubstr("CUDA 12.2, LibTorch brings 13.0"));
  facts.versions = {.driver = 13000, .runtime = 13010};
  EXPECT_EQ(verdict_of(check_gpus(facts), "CUDA driver"), Verdict::warn);
}

TEST(GpuChecks, AGpuThatCannotBeUsedOrIsUsedByOthers) {
  GpusFacts facts = good();
  facts.gpus[1].info.reset();
  facts.gpus[1].error = "GPU 1 cannot be used: creating a context on it: exclusive";
  EXPECT_EQ(verdict_of(check_gpus(facts), "GPU 1"), Verdict::fail);
  EXPECT_EQ(verdict_of(check_gpus(facts), "GPU 0"), Verdict::ok);
  facts = good();
  facts.gpus[0].info->free_bytes = 100 * gib;
  EXPECT_EQ(verdict_of(check_gpus(facts), "GPU 0"), Verdict::warn);
  facts = good();
  facts.gpus[0].info->compute_major = 12;
  EXPECT_EQ(verdict_of(check_gpus(facts), "GPU 0"), Verdict::fail);
  EXPECT_THAT(worst_of(check_gpus(facts), "GPU 0").found, HasSubstr("code for 8.0, 8.6, 8.9 and 9.0a only"));
  EXPECT_THAT(worst_of(check_gpus(facts), "GPU 0").remedy, HasSubstr("120-real"));
}

TEST(GpuChecks, PeersThatCannotReachEachOther) {
  GpusFacts facts = good();
  facts.gpus[0].unreachable = {1};
  EXPECT_EQ(verdict_of(check_gpus(facts), "peer access"), Verdict::fail);
  EXPECT_THAT(worst_of(check_gpus(facts), "peer access").found, HasSubstr("0-1"));
  EXPECT_TRUE(test::has_remedies(check_gpus(facts)));
}

TEST(GpuChecks, OfThisMachineDoNotThrow) { EXPECT_FALSE(check_gpus(gather_gpus(0)).empty()); }

TEST(GpuChecks, SignsOfGpusAreAFaultOnlyIfNoneIsVisible) {
  EXPECT_TRUE(check_hidden_gpus("", 0, "no driver").empty());
  EXPECT_TRUE(check_hidden_gpus("/dev/nvidia0", 1, "").empty());
  const std::vector<Finding> findings = check_hidden_gpus("/dev/nvidia0", 0, "built without CUDA");
  EXPECT_EQ(test::verdict_of(findings, "GPUs for this job"), Verdict::fail);
  EXPECT_TRUE(test::has_remedies(findings));
  EXPECT_THAT(findings.front().found, testing::HasSubstr("built without CUDA"));
}

}  // namespace
}  // namespace wan::doctor
