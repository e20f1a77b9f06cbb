#include "parallel/machine_model.h"

#include <gtest/gtest.h>

namespace wan::parallel {
namespace {

TEST(MachineModel, IsChosenByTheGpusName) {
  for (const MachineModel& machine : known_machines()) {
    const MachineChoice choice = choose_machine(std::string(machine.gpu));
    EXPECT_EQ(choice.model.name, machine.name);
    EXPECT_TRUE(choice.is_measured());
  }
  EXPECT_EQ(choose_machine("NVIDIA H200").model.name, "H200");
  EXPECT_EQ(choose_machine("NVIDIA H100 80GB HBM3").model.name, "H100");
}

TEST(MachineModel, OthersTakeTheNearestAndSaySo) {
  const MachineChoice pcie = choose_machine("NVIDIA H100 PCIe");
  EXPECT_EQ(pcie.model.name, "H100");
  EXPECT_FALSE(pcie.is_measured());
  for (const char* name : {"NVIDIA A100-SXM4-80GB", "NVIDIA GH200 480GB", "NVIDIA H20", "H", ""}) {
    const MachineChoice choice = choose_machine(name);
    EXPECT_EQ(choice.model.name, reference_machine().name) << name;
    EXPECT_FALSE(choice.is_measured()) << name;
  }
}

TEST(MachineModel, SaysWhichFiguresItUses) {
  EXPECT_EQ(describe(choose_machine("NVIDIA H200")), "H200 (analysis/results/step_h200.md)");
  EXPECT_EQ(describe(choose_machine("NVIDIA H100 80GB HBM3")), "H100 (analysis/results/gpu_h100x2.md)");
  EXPECT_EQ(describe(choose_machine("")), "H200 (analysis/results/step_h200.md); the GPU is not known");
  EXPECT_EQ(describe(choose_machine("NVIDIA L40S")),
            "H200 (analysis/results/step_h200.md), the nearest that was measured; the GPU is NVIDIA L40S");
}

TEST(MachineModel, HasEveryFigure) {
  for (const MachineModel& machine : known_machines()) {
    for (const double figure :
         {machine.linear_flop_per_s, machine.attention_flop_per_s, machine.elementwise_s_per_token,
          machine.exposed_s_per_exchanged_byte, machine.split_guidance_ratio, machine.sharded_step_ratio,
          machine.exchange_bytes_per_s, machine.chunk_s, machine.vae_encode_s_per_pixel,
          machine.vae_decode_s_per_pixel, machine.text_encode_s, machine.h264_s_per_pixel,
          machine.host_to_gpu_bytes_per_s})
      EXPECT_GT(figure, 0) << machine.name;
    for (const double share : {machine.vae_encode_undivided, machine.vae_decode_undivided}) {
      EXPECT_GT(share, 0) << machine.name;
      EXPECT_LT(share, 0.5) << machine.name;
    }
    EXPECT_GT(machine.context_bytes, 0) << machine.name;
    EXPECT_GT(machine.nccl_bytes, 0) << machine.name;
    EXPECT_GT(machine.multiprocessors, 0) << machine.name;
  }
}

}  // namespace
}  // namespace wan::parallel
