// Times of the plan held to what was measured, and the plan of a model with one expert as people read it.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/model_description.h"
#include "launch/plan_report.h"
#include "launch/run_layout.h"
#include "parallel/item_time.h"
#include "parallel/measured_videos.h"

namespace wan::launch {
namespace {

using parallel::Division;
using parallel::Residence;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::uint64_t gib = std::uint64_t{1} << 30;

parallel::PlanInput official_model(std::string_view task, PixelSize size, int frame_num) {
  parallel::PlanInput plan = sizes_of(engine::describe_named_model(std::string(task)));
  plan.tokens = plan.geometry.token_grid(frame_num, size);
  plan.on_gpu = true;
  plan.placement.text_encoder.residence = parallel::text_encoder_residence(true, false);
  return plan;
}

TEST(Plan, GivesTheTimesOfEveryMeasuredVideo) {
  for (const parallel::MeasuredVideo& video : parallel::measured_videos()) {
    SCOPED_TRACE(
        fmt::format("{} at {}*{} on {}", video.task, video.size.width, video.size.height, video.gpus));
    parallel::PlanInput plan = official_model(video.task, video.size, video.frame_num);
    plan.grid = parallel::choose_grid({}, video.gpus, plan.transformer.num_heads, true);
    if (video.source == "analysis/results/family_h200.md") {
      plan.machine.linear_flop_per_s = parallel::earlier_linear_flop_per_s;
      plan.machine.attention_flop_per_s = parallel::earlier_attention_flop_per_s;
    }
    EXPECT_NEAR(parallel::make_plan(plan).step_s, video.step_s, 0.05 * video.step_s);
    const parallel::ItemTime time = parallel::expected_item_time(plan);
    if (video.encode_s) {
      EXPECT_NEAR(time.encode_s, *video.encode_s, 0.1 * *video.encode_s);
    }
    if (video.decode_s) {
      EXPECT_NEAR(time.decode_s, *video.decode_s, 0.05 * *video.decode_s);
    }
  }
}

TEST(Plan, SaysWhatWasMeasured) {
  const auto said = [](std::string_view task, int ranks) {
    const engine::ModelDescription model = engine::describe_named_model(std::string(task));
    return parallel::describe_measurements(task, model.transformer, ranks);
  };
  EXPECT_EQ(said("ti2v-5B", 1), "ti2v-5B: measured on up to 2 GPUs (analysis/results/family_h200.md)");
  EXPECT_THAT(said("t2v-1.3B", 64), HasSubstr("; for 64 in a group, bytes and times are computed"));
  EXPECT_THAT(said("t2v-A14B", 4), HasSubstr("measured on up to 2 GPUs (analysis/results/step_h200.md)"));
  EXPECT_EQ(said("t2v-14B", 1), "t2v-14B: measured on 1 GPU (analysis/results/family_h200.md)");
  checkpoint::TransformerConfig toy;
  toy.dim = 64;
  EXPECT_EQ(parallel::describe_measurements("ti2v-5B", toy, 1),
            "ti2v-5B of these sizes: bytes and times are computed from these figures, not measured");
}

/// On a card of 24 GB, TI2V-5B leaves its memory to umT5 and to the autoencoder.
TEST(Residency, OneExpertWaitsOnTheHostBetweenItsTurns) {
  const parallel::PlanInput model = official_model("ti2v-5B", {.width = 1280, .height = 704}, 121);
  const MachineSize card{.ranks = 1, .memory_bytes = 24 * gib};
  parallel::PlanInput plan = model;
  const RunLayout layout = choose_layout({}, card, plan);
  EXPECT_EQ(layout.placement.transformers,
            (parallel::NetworkPlacement{Division::whole, Residence::waits_on_host}));
  EXPECT_LT(parallel::make_plan(plan).total_bytes(), 22 * gib);
  const std::string report = plan_report({.model = plan,
                                          .choice = weigh_layouts({}, card, model),
                                          .machine = card,
                                          .manifest = {},
                                          .objective = Objective::latency,
                                          .task = "ti2v-5B",
                                          .precision = "fp16"});
  for (const char* part :
       {"transformer whole on each rank, on the host except for the steps", "transformer's weights",
        "wait for the transformer from the host", "precision        fp16; the times are those of bf16\n"})
    EXPECT_THAT(report, HasSubstr(part));
  EXPECT_THAT(report, Not(HasSubstr("expert")));
}

/// The plan says how a switch happens, and what it costs.
TEST(Residency, TheOtherExpertComesInBesideTheLastStepBeforeIt) {
  const parallel::PlanInput model = official_model("i2v-A14B", {.width = 832, .height = 480}, 81);
  const MachineSize card{.ranks = 1, .memory_bytes = 44 * gib};
  parallel::PlanInput plan = model;
  choose_layout({}, card, plan);
  const std::string report = plan_report({.model = plan,
                                          .choice = weigh_layouts({}, card, model),
                                          .machine = card,
                                          .manifest = {},
                                          .objective = Objective::latency,
                                          .task = "i2v-A14B",
                                          .precision = "bf16"});
  EXPECT_THAT(report, HasSubstr("\nexperts' switch  26.6 GiB to each GPU in 0.52 s, block by block"));
  EXPECT_THAT(report, HasSubstr("  wait for the experts from the host                0.00 s\n"));
}

}  // namespace
}  // namespace wan::launch
