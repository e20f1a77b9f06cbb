#include "doctor/checkpoint_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "findings.h"
#include "support/temp_dir.h"

namespace wan::doctor {
namespace {

using test::verdict_of;
using test::worst_of;
using ::testing::HasSubstr;

const std::filesystem::path demo = std::filesystem::path(WAN_TEST_DATA) / "../../inputs/demo/checkpoint";

TEST(CheckpointChecks, ACompleteOne) {
  const std::vector<Finding> findings = check_checkpoint(demo);
  EXPECT_TRUE(test::all_ok(findings)) << table(findings, 1);
  EXPECT_EQ(findings.size(), 7U);
  EXPECT_THAT(worst_of(findings, "checkpoint: high_noise_model").found, HasSubstr("tensors in 2 files"));
  EXPECT_THAT(worst_of(findings, "checkpoint: folder").found, HasSubstr("i2v-A14B"));
}

TEST(CheckpointChecks, EveryDamageIsFoundInItsPart) {
  const std::vector<std::pair<std::string, std::string>> damages{
      {"high_noise_model/diffusion_pytorch_model-00002-of-00002.safetensors", "high_noise_model"},
      {"low_noise_model/diffusion_pytorch_model.safetensors", "low_noise_model"},
      {"models_t5_umt5-xxl-enc-bf16.pth", "text encoder"},
      {"Wan2.1_VAE.pth", "VAE"},
      {"google/umt5-xxl/tokenizer.json", "tokenizer"}};
  for (const auto& [file, part] : damages) {
    const wan::test::TempDir folder;
    std::filesystem::copy(demo, folder / "ckpt", std::filesystem::copy_options::recursive);
    std::filesystem::resize_file(folder / "ckpt" / file, 100);
    const std::vector<Finding> findings = check_checkpoint(folder / "ckpt");
    EXPECT_EQ(verdict_of(findings, "checkpoint: " + part), Verdict::fail) << file;
    EXPECT_TRUE(test::has_remedies(findings)) << file;
  }
}

TEST(CheckpointChecks, AbsentAndIncompleteOnes) {
  const wan::test::TempDir folder;
  EXPECT_EQ(verdict_of(check_checkpoint(folder / "absent"), "checkpoint: folder"), Verdict::fail);
  const std::vector<Finding> findings = check_checkpoint(folder.path());
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(findings[0].found, HasSubstr("Wan2.1_VAE.pth"));
}

}  // namespace
}  // namespace wan::doctor
