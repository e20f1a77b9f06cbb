#include "apps/run_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apps/bench_model.h"
#include "apps/bench_options.h"
#include "wan/error.h"

namespace wan::apps {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t gib = std::uint64_t{1} << 30;

/// The 14B model at 480p, 81 frames, bf16.
parallel::PlanInput full_model(bool on_gpu) {
  const BenchModel model = bench_model("i2v-A14B");
  return {.transformer = model.transformer,
          .text_encoder = model.text_encoder,
          .vae_parameters = model.vae_parameters(),
          .grid = {},
          .tokens = {.frames = 21, .rows = 30, .columns = 52},
          .guided = true,
          .on_gpu = on_gpu,
          .element_bytes = 2};
}

RunLayout layout_for(int ranks, std::uint64_t gpu_bytes, const Options& options = {}) {
  parallel::PlanInput plan = full_model(true);
  return choose_layout(options, ranks, gpu_bytes, plan);
}

std::string refusal_for(int ranks, std::uint64_t gpu_bytes, const Options& options = {}) {
  try {
    layout_for(ranks, gpu_bytes, options);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(BenchModel, IsTheOfficialOnesSize) {
  const BenchModel model = bench_model("i2v-A14B");
  std::int64_t elements = 0;
  for (const checkpoint::UnitLayout& unit : checkpoint::transformer_units(model.transformer))
    elements += unit.elements();
  EXPECT_EQ(elements, 14'288'901'184);  // spec 1.3
  EXPECT_EQ(model.vae_parameters(), 126'892'531);
  std::int64_t text = model.text_encoder.vocabulary * model.text_encoder.dim;
  for (const checkpoint::UnitLayout& unit : checkpoint::text_encoder_units(model.text_encoder))
    text += unit.elements();
  EXPECT_EQ(text, 5'680'910'336);
  EXPECT_THROW(bench_model("i2v-B14A"), UsageError);
}

TEST(Residency, WeightsAreWholeWhereTheyFitThenShardedThenOneExpertLeaves) {
  const RunLayout large = layout_for(4, 140 * gib);
  EXPECT_FALSE(large.dit_fsdp || large.t5_fsdp || large.offload_model);
  const RunLayout medium = layout_for(4, 40 * gib);
  EXPECT_TRUE(medium.dit_fsdp && medium.t5_fsdp);
  EXPECT_FALSE(medium.offload_model);
  const RunLayout small = layout_for(4, 16 * gib);
  EXPECT_TRUE(small.dit_fsdp && small.offload_model);
  const RunLayout alone = layout_for(1, 48 * gib);
  EXPECT_TRUE(alone.offload_model);
  EXPECT_FALSE(alone.dit_fsdp || alone.t5_fsdp) << "there is nobody to share with";
}

TEST(Residency, WishesAreObeyedOrRefused) {
  Options options;
  options.dit_fsdp = Switch::on;
  EXPECT_TRUE(layout_for(4, 140 * gib, options).dit_fsdp);
  options = {};
  options.offload_model = Switch::on;
  EXPECT_TRUE(layout_for(2, 140 * gib, options).offload_model);
  options = {};
  options.offload_model = Switch::off;
  EXPECT_THAT(refusal_for(1, 48 * gib, options), HasSubstr("needs"));
}

TEST(Residency, SaysByHowMuchNothingFits) {
  const std::string message = refusal_for(1, 24 * gib);
  EXPECT_THAT(message, HasSubstr("more than the"));
  EXPECT_THAT(message, HasSubstr("GiB"));
  EXPECT_THAT(message, HasSubstr("--group-size"));
}

// What was measured on H200s (analysis/results/gpu_h200.md), in use on a GPU with everything.
TEST(Plan, PredictsThePeaksMeasured) {
  const auto predicted_gib = [](int ranks, bool sharded, bool offloaded, bool is_720p) {
    parallel::PlanInput plan = full_model(true);
    if (is_720p) plan.tokens = {.frames = 21, .rows = 45, .columns = 80};
    plan.grid = parallel::choose_grid({}, ranks, 40, true);
    plan.dit_fsdp = plan.t5_fsdp = sharded;
    plan.offload_model = offloaded;
    return static_cast<double>(parallel::make_plan(plan).total_bytes()) / static_cast<double>(gib);
  };
  EXPECT_NEAR(predicted_gib(1, false, false, false), 65.1, 0.05 * 65.1);
  EXPECT_NEAR(predicted_gib(1, false, false, true), 79.9, 0.05 * 79.9);
  EXPECT_NEAR(predicted_gib(4, true, false, false), 21.2, 0.05 * 21.2);
  EXPECT_NEAR(predicted_gib(2, true, true, true), 31.0, 0.05 * 31.0);
}

TEST(BenchOptions, DefaultsAndSharedOptions) {
  const std::vector<std::string> none;
  const BenchSettings defaults = parse_bench_options(none).options.bench;
  EXPECT_EQ(defaults.model, "i2v-A14B");
  EXPECT_EQ(defaults.size, (PixelSize{832, 480}));
  EXPECT_EQ(defaults.frame_num, 81);
  EXPECT_EQ(defaults.steps, 3);
  EXPECT_EQ(defaults.warmup, 1);
  const std::vector<std::string> some{"--steps",          "5",           "--dit-fsdp",
                                      "--ulysses_size=2", "--attention", "cudnn"};
  const Options options = parse_bench_options(some).options;
  EXPECT_EQ(options.bench.steps, 5);
  EXPECT_EQ(options.dit_fsdp, Switch::on);
  EXPECT_EQ(options.ulysses_size, 2);
  EXPECT_EQ(options.attention, kernels::AttentionBackend::cudnn);
}

TEST(BenchOptions, WhatIsOfABatchAloneIsUnknown) {
  for (const char* argument : {"--ckpt-dir=x", "rows.csv", "--resume", "--steps=0"}) {
    const std::vector<std::string> arguments{argument};
    EXPECT_THROW(parse_bench_options(arguments), UsageError) << argument;
  }
}

}  // namespace
}  // namespace wan::apps
