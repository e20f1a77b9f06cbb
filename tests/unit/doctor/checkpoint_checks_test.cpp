#include "doctor/checkpoint_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "findings.h"
#include "support/temp_dir.h"

namespace wan::doctor {
namespace {

using test::verdict_of;
using test::worst_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

const std::filesystem::path demo = std::filesystem::path(WAN_TEST_DATA) / "../../inputs/toy/checkpoint";

TEST(CheckpointChecks, ACompleteOne) {
  const std::vector<Finding> findings = check_checkpoint(demo);
  EXPECT_TRUE(test::all_ok(findings)) << table(findings, 1);
  EXPECT_EQ(findings.size(), 7U);
  EXPECT_THAT(worst_of(findings, "checkpoint: high_noise_model").found,
              AllOf(HasSubstr("tensors in 2 files"), HasSubstr(", official names")));
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

/// A run refuses these after loading. The doctor finds them in the headers.
TEST(CheckpointChecks, PartsThatDoNotBelongTogether) {
  const wan::test::TempDir folder;
  const std::filesystem::path root = folder / "ckpt";
  std::filesystem::copy(demo, root, std::filesystem::copy_options::recursive);
  const auto replaced = [&](const std::string& part, const std::filesystem::path& by) {
    std::filesystem::rename(root / part, root / "kept");
    std::filesystem::copy_file(by, root / part);
    std::vector<Finding> findings = check_checkpoint(root);
    std::filesystem::rename(root / "kept", root / part);
    return findings;
  };
  const std::string text_encoder = "models_t5_umt5-xxl-enc-bf16.pth";
  const std::filesystem::path other =
      std::filesystem::path(WAN_TEST_DATA) / "parity/i2v_portrait_ragged/ckpt";
  EXPECT_EQ(verdict_of(replaced("Wan2.1_VAE.pth", root / text_encoder), "checkpoint: VAE"), Verdict::fail);
  EXPECT_EQ(
      verdict_of(replaced("Wan2.1_VAE.pth", std::filesystem::path(WAN_TEST_DATA) / "checkpoint/module.pth"),
                 "checkpoint: VAE"),
      Verdict::fail);
  EXPECT_THAT(worst_of(replaced("Wan2.1_VAE.pth", std::filesystem::path(WAN_TEST_DATA) /
                                                      "parity/ti2v_text/ckpt/Wan2.2_VAE.pth"),
                       "checkpoint: VAE")
                  .found,
              HasSubstr("48 latent channels"));
  EXPECT_THAT(worst_of(replaced(text_encoder, other / text_encoder), "checkpoint: text encoder").found,
              HasSubstr("the text encoder's width is"));
}

TEST(CheckpointChecks, ATokenizerLargerThanTheEmbedding) {
  const wan::test::TempDir folder;
  const std::filesystem::path root = folder / "ckpt";
  std::filesystem::copy(demo, root, std::filesystem::copy_options::recursive);
  const std::filesystem::path file = root / "google/umt5-xxl/tokenizer.json";
  nlohmann::json json = nlohmann::json::parse(read_text_file(file, 1U << 26U));
  json["added_tokens"].push_back({{"id", 1'000'000}, {"content", "<far>"}});
  std::ofstream(file) << json.dump();
  EXPECT_THAT(worst_of(check_checkpoint(root), "checkpoint: tokenizer").found,
              HasSubstr("has ids up to 1000000, the text encoder has"));
}

TEST(CheckpointChecks, FilesThatAreNotUsedAreAWarning) {
  const wan::test::TempDir folder;
  std::filesystem::copy(demo, folder / "ckpt", std::filesystem::copy_options::recursive);
  std::ofstream(folder / "ckpt/low_noise_model/lora.safetensors") << "lora";
  const std::vector<Finding> findings = check_checkpoint(folder / "ckpt");
  EXPECT_EQ(verdict_of(findings, "checkpoint: folder"), Verdict::warn);
  EXPECT_THAT(worst_of(findings, "checkpoint: folder").found,
              HasSubstr("not used: 'low_noise_model/lora.safetensors'"));
}

TEST(CheckpointChecks, AbsentAndIncompleteOnes) {
  const wan::test::TempDir folder;
  EXPECT_EQ(verdict_of(check_checkpoint(folder / "absent"), "checkpoint: folder"), Verdict::fail);
  const std::vector<Finding> findings = check_checkpoint(folder.path());
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(findings[0].found, HasSubstr("Wan2.1_VAE.pth"));
  EXPECT_THAT(findings[0].found, HasSubstr(". Expected in it:\n  high_noise_model/")) << "lines, not \\x0a";
  EXPECT_THAT(findings[0].remedy, HasSubstr("give the folder of a checkpoint"));
  EXPECT_THAT(check_checkpoint(folder.path(), "--ckpt-dir")[0].remedy,
              HasSubstr("give --ckpt-dir the folder of a checkpoint"));
}

}  // namespace
}  // namespace wan::doctor
