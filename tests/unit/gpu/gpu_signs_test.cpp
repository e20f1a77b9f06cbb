#include "gpu/gpu_signs.h"

#include <gtest/gtest.h>

#include <fstream>

#include "support/temp_dir.h"

namespace wan::gpu {
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

}  // namespace
}  // namespace wan::gpu
