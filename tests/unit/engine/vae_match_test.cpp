#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "checkpoint/model_config.h"
#include "engine/model_description.h"
#include "support/message_of.h"
#include "support/parity_case.h"
#include "support/temp_dir.h"

namespace wan::engine {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::filesystem::path checkpoint_of(const std::string& name) {
  return std::filesystem::path(WAN_TEST_DATA) / "parity" / name / "ckpt";
}

/// The refusal of a checkpoint whose autoencoder is another's.
std::string refusal(const std::string& name, const std::string& vae_file, const std::string& other,
                    const std::string& other_vae_file) {
  const test::TempDir folder;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoint_of(name)))
    std::filesystem::create_symlink(std::filesystem::absolute(entry.path()),
                                    folder / entry.path().filename().string());
  std::filesystem::remove(folder / vae_file);
  std::filesystem::create_symlink(std::filesystem::absolute(checkpoint_of(other) / other_vae_file),
                                  folder / vae_file);
  const checkpoint::CheckpointFolder found = checkpoint::inspect_checkpoint(folder / "");
  return test::message_of<UsageError>([&] { describe_model(found); });
}

TEST(VaeMatch, OneOfAnotherModelIsRefusedByName) {
  EXPECT_THAT(refusal("ti2v_text", "Wan2.2_VAE.pth", "t2v_square", "Wan2.1_VAE.pth"),
              AllOf(HasSubstr("16 latent channels, as Wan2.1_VAE.pth has, and ti2v-5B works with 48"),
                    HasSubstr("use the checkpoint's own Wan2.2_VAE.pth")));
  EXPECT_THAT(refusal("t2v_square", "Wan2.1_VAE.pth", "ti2v_text", "Wan2.2_VAE.pth"),
              AllOf(HasSubstr("48 latent channels, as Wan2.2_VAE.pth has, and t2v-A14B works with 16"),
                    HasSubstr("use the checkpoint's own Wan2.1_VAE.pth")));
}

TEST(NamedModel, Ti2v5BHasTheOfficialSizes) {
  const ModelDescription model = describe_named_model("ti2v-5B");
  EXPECT_EQ(model.vae_parameters(), 704'688'668);
  EXPECT_EQ(model.transformer.dim, 3072);
  EXPECT_EQ(model.transformer.ffn_dim, 14336);
  EXPECT_EQ(model.transformer.in_dim, 48);
  EXPECT_EQ(model.transformer.num_heads, 24);
  EXPECT_EQ(model.transformer.num_layers, 30);
  EXPECT_EQ(model.text_encoder.dim, 4096);
}

}  // namespace
}  // namespace wan::engine
