#include "launch/distilled_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>

#include "layout_inputs.h"
#include "model/distilled.h"
#include "support/temp_dir.h"

namespace wan::launch {
namespace {

using test::input_of;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using wan::test::TempDir;

namespace fs = std::filesystem;

/// A safetensors file of one number with this metadata.
void write_file(const fs::path& path, const std::string& metadata) {
  const std::string header =
      R"({"__metadata__":{)" + metadata + R"(},"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  std::ofstream file(path, std::ios::binary);
  const std::uint64_t bytes = header.size();
  file.write(reinterpret_cast<const char*>(&bytes), sizeof bytes);
  file << header << std::string(4, '\0');
}

/// A model of two lone files in a scratch folder.
class Pair : public testing::Test {
 protected:
  void write(const std::string& high, const std::string& high_metadata, const std::string& low,
             const std::string& low_metadata) {
    options_.parts.high_noise_model = folder_ / high;
    options_.parts.low_noise_model = folder_ / low;
    write_file(options_.parts.high_noise_model, high_metadata);
    write_file(options_.parts.low_noise_model, low_metadata);
    checkpoint_.experts = {{.expert = Expert::high_noise, .path = options_.parts.high_noise_model},
                           {.expert = Expert::low_noise, .path = options_.parts.low_noise_model}};
  }
  DistilledModel found() const { return find_distilled_model(options_, checkpoint_); }

  TempDir folder_;
  Options options_;
  checkpoint::CheckpointFolder checkpoint_;
};

constexpr const char* titled = R"("format":"pt","modelspec.title":"Wan 2.2 I2V 4steps")";

TEST_F(Pair, NothingSaysSo) {
  write("high.safetensors", R"("format":"pt")", "low.safetensors", "");
  EXPECT_FALSE(found().is_distilled);
  EXPECT_EQ(found().rule + found().note, "");
}

TEST_F(Pair, TheOptionWins) {
  write("high_4step.safetensors", titled, "low_4step.safetensors", titled);
  options_.lightning = Switch::off;
  EXPECT_FALSE(found().is_distilled);
  write("high.safetensors", "", "low.safetensors", "");
  options_.lightning = Switch::on;
  EXPECT_TRUE(found().is_distilled);
  EXPECT_EQ(found().rule, "--lightning");
}

TEST_F(Pair, MetadataComesBeforeNames) {
  write("high_4step.safetensors", titled, "low_4step.safetensors", titled);
  EXPECT_TRUE(found().is_distilled);
  EXPECT_EQ(found().rule, "the metadata of high_4step.safetensors, modelspec.title: Wan 2.2 I2V 4steps");
  write("high_4step.safetensors", "", "low_4step.safetensors", "");
  EXPECT_TRUE(found().is_distilled);
  EXPECT_EQ(found().rule, "the name high_4step.safetensors");
}

TEST_F(Pair, OneOfTwoIsAWarning) {
  write("high.safetensors", "", "low_4step.safetensors", "");
  EXPECT_FALSE(found().is_distilled);
  EXPECT_THAT(found().note, AllOf(HasSubstr("the name low_4step.safetensors says that one expert"),
                                  HasSubstr("--lightning"), Not(HasSubstr("\n"))));
  write("high.safetensors", titled, "low.safetensors", "");
  EXPECT_FALSE(found().is_distilled);
  EXPECT_THAT(found().note, HasSubstr("the metadata of high.safetensors"));
}

/// A checkpoint folder of two experts, of which nothing is opened.
checkpoint::CheckpointFolder two_experts() {
  checkpoint::CheckpointFolder folder;
  folder.experts = {{.expert = Expert::high_noise, .path = "/models/high.pth"},
                    {.expert = Expert::low_noise, .path = "/models/low.pth"}};
  return folder;
}

TEST(DistilledModel, TheCheckpointFoldersNameCountsOnlyWhereItsExpertsAreUsed) {
  Options options;
  options.ckpt_dir = "/models/Wan2.2-I2V-A14B-4steps";
  EXPECT_TRUE(find_distilled_model(options, two_experts()).is_distilled);
  options.parts.model = "/models/base.safetensors";
  EXPECT_FALSE(find_distilled_model(options, two_experts()).is_distilled);
}

TEST(DistilledModel, LorasForBothExpertsMakeADistilledModelOfTheBase) {
  Options options;
  options.ckpt_dir = "/models/Wan2.2-I2V-A14B";
  const fs::path folder = "/loras/Wan2.2-I2V-A14B-4steps-lora-rank64-Seko-V1";
  const lora::Lora high{.file = folder / "high_noise_model.pt", .experts = LoraExperts::high_noise};
  const lora::Lora low{.file = folder / "low_noise_model.pt", .experts = LoraExperts::low_noise};
  const lora::Lora style{.file = "/loras/style.pt"};
  EXPECT_FALSE(find_distilled_model(options, two_experts(), {style}).is_distilled);
  const DistilledModel found = find_distilled_model(options, two_experts(), {style, high, low});
  EXPECT_TRUE(found.is_distilled);
  EXPECT_EQ(found.rule, "the name Wan2.2-I2V-A14B-4steps-lora-rank64-Seko-V1");
  const DistilledModel half = find_distilled_model(options, two_experts(), {low});
  EXPECT_FALSE(half.is_distilled);
  EXPECT_THAT(half.note, HasSubstr("says that one expert is distilled"));
  EXPECT_TRUE(find_distilled_model(options, two_experts(), {{.file = "/loras/x_4step.pt"}}).is_distilled);
}

/// The input of a run whose model is distilled.
RunInput distilled_input(const std::string& csv, TaskKind kind = TaskKind::t2v) {
  RunInput input = input_of(csv, kind);
  input.distilled = {.is_distilled = true, .rule = "--lightning", .note = ""};
  input.checkpoint.task.defaults = model::distilled_defaults(input.checkpoint.task.defaults);
  return input;
}

TEST(DistilledModel, ExplicitValuesWinOneByOne) {
  RunInput input = distilled_input("prompt,sample_steps,sample_guide_scale\na,,\nb,6,2:1\n");
  input.overrides.sample_shift = 8;
  const Request first = resolve_row(input, input.rows[0]);
  EXPECT_EQ(first.sample_steps, 4);
  EXPECT_EQ(first.solver, Solver::euler);
  EXPECT_EQ(first.sample_shift, 8);
  EXPECT_EQ(first.guide_scale, (GuideScale{.low_noise = 1, .high_noise = 1}));
  EXPECT_EQ(first.boundary, 0.875);
  const Request second = resolve_row(input, input.rows[1]);
  EXPECT_EQ(second.sample_steps, 6);
  EXPECT_EQ(second.guide_scale, (GuideScale{.low_noise = 2, .high_noise = 1}));
  EXPECT_EQ(
      describe_distilled_model(input),
      "a distilled model by --lightning: 4 steps, euler, shift 5, guidance 1 where nothing else is given");
  EXPECT_EQ(describe_distilled_model(input_of("prompt\na\n")), "");
}

TEST(UnusualSteps, ADistilledModelWithManyGuidedSteps) {
  EXPECT_EQ(unusual_steps(distilled_input("prompt\na\n")), "");
  EXPECT_EQ(unusual_steps(distilled_input("prompt,sample_steps,sample_guide_scale\na,8,\nb,,1:3\n")), "")
      << "guidance in one expert may be meant";
  EXPECT_EQ(
      unusual_steps(distilled_input("prompt,sample_steps,sample_guide_scale\na,40,3.5\nb,,\n")),
      "1 of 2 items take 40 steps, euler, shift 5, guidance 3.5, but the model is distilled by --lightning: "
      "it is made for 4 steps, euler, shift 5, guidance 1");
  EXPECT_THAT(unusual_steps(distilled_input("prompt,sample_steps\na,40\n")), HasSubstr("40 steps"));
  EXPECT_THAT(unusual_steps(distilled_input("prompt,sample_guide_scale\na,5\n")), HasSubstr("guidance 5"));
}

TEST(UnusualSteps, ABaseModelWithFew) {
  EXPECT_EQ(unusual_steps(input_of("prompt\na\n")), "");
  EXPECT_EQ(unusual_steps(input_of("prompt,sample_steps\na,9\n")), "");
  EXPECT_EQ(
      unusual_steps(input_of("prompt,sample_steps\na,4\n")),
      "the item takes 4 steps, unipc, shift 12, guidance 3:4, but nothing says that the model is distilled: "
      "it is made for 40 steps, unipc, shift 12, guidance 3:4; if it is distilled, give --lightning");
  EXPECT_EQ(unusual_steps(input_of("prompt,sample_steps\na,bad\nb,40\n")), "") << "a bad row says so itself";
}

}  // namespace
}  // namespace wan::launch
