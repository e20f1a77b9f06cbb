// Options that would contradict each other, and names that belong to other programs.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "apps/bench_inputs.h"
#include "apps/bench_options.h"
#include "apps/options.h"
#include "engine/model_description.h"
#include "launch/run_layout.h"
#include "option_calls.h"
#include "support/message_of.h"
#include "support/temp_dir.h"

namespace wan::apps {
namespace {

using test::message_of;
using ::testing::HasSubstr;

TEST(OptionRules, SaveFileAndAnotherOutputFolder) {
  const Arguments request{"--ckpt-dir", "c", "--prompt", "x"};
  const auto with = [&](Arguments more) {
    more.insert(more.end(), request.begin(), request.end());
    return more;
  };
  EXPECT_EQ(
      message_of<UsageError>([&] {
        parse_options(with({"--save-file", "cat.mp4", "--output-dir", "videos"}));
      }),
      "--save-file cat.mp4 says where the video and all other files of the request lie, so --output-dir "
      "videos would have no effect: leave it out, or write --save-file videos/cat.mp4");
  for (const Arguments& alike : {Arguments{"--save-file", "a/cat.mp4", "--output-dir", "a"},
                                 Arguments{"--save-file", "a/cat.mp4", "--output-dir", "./a/"},
                                 Arguments{"--save-file", "cat.mp4", "--output-dir", "."}}) {
    EXPECT_NO_THROW(parse_options(with(alike))) << alike[1];
  }
  const test::TempDir folder;
  const auto config = folder.path() / "run.cfg";
  std::ofstream(config) << "output-dir = videos\n";
  EXPECT_NO_THROW(parse_options(with({"--config", config.string(), "--save-file", "cat.mp4"})))
      << "the command line wins over the file";
}

TEST(OptionRules, NamesOfOtherProgramsLeadToOurs) {
  const std::vector<std::pair<std::string, std::string>> names{{"--cfg_scale", "--sample-guide-scale"},
                                                               {"--guidance-scale", "--sample-guide-scale"},
                                                               {"--n_prompt", "--negative-prompt"},
                                                               {"--num_frames", "--frame-num"},
                                                               {"--num-inference-steps", "--sample-steps"},
                                                               {"--seed", "--base-seed"},
                                                               {"--height", "--size"}};
  for (const auto& [theirs, ours] : names) {
    EXPECT_EQ(message_with({theirs, "5"}),
              fmt::format("unknown option '{}'; did you mean {}?", theirs, ours));
  }
  EXPECT_THAT(message_with({"--use_prompt_extend"}), HasSubstr("jobs/extend_prompts.py"));
  EXPECT_THAT(message_with({"--prompt_extend_method", "local_qwen"}), HasSubstr("docs/prompts.md"));
}

TEST(OptionRules, ABenchmarkOfProductsMakesNoSteps) {
  for (const Arguments& other :
       {Arguments{"--kernels"}, Arguments{"--trace", "t.h5"}, Arguments{"--trace-cost", "--trace", "t.h5"}}) {
    Arguments arguments{"--measure-products"};
    arguments.insert(arguments.end(), other.begin(), other.end());
    EXPECT_THAT(message_of<UsageError>([&] { parse_bench_options(arguments); }),
                HasSubstr("--measure-products times products and makes no steps: leave " + other.front()));
  }
}

TEST(OptionRules, ABenchmarkWithoutGpusDoesNotFillTheHost) {
  const auto try_model = [](const char* model, launch::Device device) {
    launch::Options options;
    options.device = device;
    options.bench.model = model;
    parallel::PlanInput plan =
        launch::sizes_of(engine::describe_named_model(model), /*has_files=*/false, options.vae_precision);
    plan.tokens = plan.geometry.token_grid(5, {96, 64});
    plan.element_bytes = 4;
    require_small_without_gpu(options, plan);
  };
  EXPECT_THAT(message_of<UsageError>([&] { try_model("i2v-A14B", launch::Device::automatic); }),
              HasSubstr("insist with --device cpu"));
  EXPECT_NO_THROW(try_model("i2v-A14B", launch::Device::cpu));
}

}  // namespace
}  // namespace wan::apps
