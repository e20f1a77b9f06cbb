#include "doctor/gpu_signs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "findings.h"
#include "support/temp_dir.h"

namespace wan::doctor {
namespace {

TEST(GpuSigns, SlurmAndTheDriverSaySo) {
  const wan::test::TempDir none;
  EXPECT_EQ(signs_of_gpus({}, none.path()), "");
  EXPECT_EQ(signs_of_gpus({{"SLURM_GPUS_ON_NODE", "0"}, {"SLURM_JOB_GPUS", ""}}, none.path()), "");
  EXPECT_EQ(signs_of_gpus({{"SLURM_JOB_GPUS", "0"}}, none.path()), "SLURM_JOB_GPUS=0")
      << "the GPU of index 0";
  EXPECT_EQ(signs_of_gpus({{"SLURM_STEP_GPUS", "2,3"}}, none.path()), "SLURM_STEP_GPUS=2,3");
  EXPECT_EQ(signs_of_gpus({{"SLURM_GPUS_ON_NODE", "2"}}, none.path()), "SLURM_GPUS_ON_NODE=2");
  EXPECT_EQ(signs_of_gpus({{"SLURM_GPUS_PER_NODE", "h100:4"}}, none.path()), "SLURM_GPUS_PER_NODE=h100:4");
  const wan::test::TempDir devices;
  std::ofstream(devices / "nvidiactl") << "";
  std::ofstream(devices / "nvidia-uvm") << "";
  EXPECT_EQ(signs_of_gpus({}, devices.path()), "");
  std::ofstream(devices / "nvidia1") << "";
  EXPECT_EQ(signs_of_gpus({}, devices.path()), (devices / "nvidia1").string());
}

TEST(GpuSigns, OnlyWhereNoneIsVisibleItIsAFault) {
  EXPECT_TRUE(check_hidden_gpus("", 0, "no driver").empty());
  EXPECT_TRUE(check_hidden_gpus("/dev/nvidia0", 1, "").empty());
  const std::vector<Finding> findings = check_hidden_gpus("/dev/nvidia0", 0, "built without CUDA");
  EXPECT_EQ(test::verdict_of(findings, "GPUs for this job"), Verdict::fail);
  EXPECT_TRUE(test::has_remedies(findings));
  EXPECT_THAT(findings.front().found, testing::HasSubstr("built without CUDA"));
}

}  // namespace
}  // namespace wan::doctor
