#include "model/distilled.h"

#include <gtest/gtest.h>

#include "model/guidance.h"
#include "model/model_kind.h"

namespace wan::model {
namespace {

TEST(DistilledName, TheReleasedNames) {
  for (const char* name :
       {"Wan2.2-T2V-A14B-4steps-lora-rank64-Seko-V1", "Wan2.2-T2V-A14B-4steps-lora-rank64-Seko-V1.1",
        "Wan2.2-T2V-A14B-4steps-lora-250928", "Wan2.2-I2V-A14B-4steps-lora-rank64-Seko-V1",
        "wan2.2_i2v_A14b_high_noise_lora_rank64_lightx2v_4step_1022.safetensors",
        "wan2.2_t2v_A14b_low_noise_lora_rank64_lightx2v_4step_1217.safetensors",
        "wan2.2_i2v_A14b_low_noise_lightx2v_4step.safetensors",
        "wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors",
        "wan2.1_t2v_14b_lora_rank64_lightx2v_4step.safetensors", "Wan2.2-Lightning",
        "Wan2.1-T2V-14B-StepDistill-CfgDistill-Lightx2v", "models--lightx2v--Wan2.2-Lightning",
        "Wan21_I2V_14B_lightx2v_cfg_step_distill_lora_rank64.safetensors", "wan-4-steps"})
    EXPECT_TRUE(is_distilled_name(name)) << name;
}

TEST(DistilledName, OtherNames) {
  for (const char* name :
       {"", "Wan2.2-I2V-A14B", "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors", "Wan2.1-T2V-1.3B",
        "Wan2.1-I2V-14B-480P-CfgDistill", "step-4000.safetensors", "lora_4_rank_steps", "24steps",
        "14step_lora", "lightningbolt", "steps-4", "40-steps"})
    EXPECT_FALSE(is_distilled_name(name)) << name;
}

TEST(DistilledName, InAPath) {
  EXPECT_EQ(distilled_name_in("/a/Wan2.2-I2V-A14B-4steps"), "Wan2.2-I2V-A14B-4steps");
  EXPECT_EQ(distilled_name_in("/a/Wan2.2-I2V-A14B-4steps/"), "Wan2.2-I2V-A14B-4steps");
  EXPECT_EQ(distilled_name_in("x_4step.safetensors"), "x_4step.safetensors");
  // The Lightning LoRAs: two files with names of experts in a folder whose name tells.
  for (const char* file : {"high_noise_model.safetensors", "low_noise_model.safetensors",
                           "diffusion_pytorch_model.safetensors", "high_noise_model", "transformer"})
    EXPECT_EQ(distilled_name_in(std::filesystem::path("/a/X-4steps-lora") / file), "X-4steps-lora") << file;
  EXPECT_EQ(distilled_name_in("/hub/models--lightx2v--Wan2.2-Lightning/snapshots/0123abcd"),
            "models--lightx2v--Wan2.2-Lightning");
  // A folder's name says nothing of a file that has a name of its own, nor do folders farther up.
  EXPECT_EQ(distilled_name_in("/lightning/Wan2.2-I2V-A14B"), "");
  EXPECT_EQ(distilled_name_in("/a/X-4steps-lora/deeper/high_noise_model.safetensors"), "");
  EXPECT_EQ(distilled_name_in(""), "");
}

TEST(DistilledMetadata, OnlyEntriesThatNameTheModelCount) {
  EXPECT_EQ(distilled_entry_in({{"modelspec.title", "Wan 2.2 4steps"}}), "modelspec.title: Wan 2.2 4steps");
  EXPECT_EQ(distilled_entry_in({{"format", "pt"}, {"ss_output_name", "my_4step_lora"}}),
            "ss_output_name: my_4step_lora");
  EXPECT_EQ(distilled_entry_in({{"modelspec.description", "Unlike Wan2.2-Lightning it takes 40 steps"}}), "");
  EXPECT_EQ(distilled_entry_in({{"format", "pt"}}), "");
}

TEST(DistilledDefaults, ReplaceTheSamplingAndNothingElse) {
  for (const ModelKind& kind : model_kinds()) {
    SCOPED_TRACE(kind.task);
    const TaskDefaults made = distilled_defaults(kind.defaults);
    EXPECT_EQ(describe_sampling(made), "4 steps, euler, shift 5, guidance 1");
    EXPECT_EQ(made.shift_of({.width = 832, .height = 480}), 5);
    EXPECT_FALSE(is_guided(made.guide_scale));
    EXPECT_EQ(made.boundary, kind.defaults.boundary);
    EXPECT_EQ(made.size, kind.defaults.size);
    EXPECT_EQ(made.frame_num, kind.defaults.frame_num);
    EXPECT_EQ(made.fps, kind.defaults.fps);
    EXPECT_EQ(made.negative_prompt, kind.defaults.negative_prompt);
  }
  EXPECT_EQ(describe_sampling(model_kind("t2v-A14B").defaults), "40 steps, unipc, shift 12, guidance 3:4");
}

}  // namespace
}  // namespace wan::model
