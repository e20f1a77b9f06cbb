// Layouts and plans of requests without guidance: one pass in each step. GPUs are played.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/distilled_model.h"
#include "launch/plan_report.h"
#include "launch/run_layout.h"
#include "layout_inputs.h"
#include "model/distilled.h"
#include "wan/error.h"

namespace wan::launch {
namespace {

using test::full_model;
using test::gib;
using test::input_of;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// I2V-A14B at 480p with 4 steps without guidance.
parallel::PlanInput distilled_model() {
  parallel::PlanInput plan = full_model(true);
  plan.guided = false;
  plan.sample_steps = 4;
  return plan;
}

/// That model on a layout of this machine's figures.
parallel::PlanInput on_grid(const comm::GridShape& grid) {
  parallel::PlanInput plan = distilled_model();
  plan.grid = grid;
  return plan;
}

RunLayout layout_for(int ranks, const Options& options = {}) {
  parallel::PlanInput plan = distilled_model();
  return choose_layout(options, {.ranks = ranks, .memory_bytes = 140 * gib}, plan);
}

TEST(UnguidedLayout, LatencySplitsTheSequenceOverAllRanksOfAGroup) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    const RunLayout layout = layout_for(ranks);
    const comm::GridShape expected{.group_size = ranks, .cfg = 1, .ulysses = ranks};
    EXPECT_EQ(layout.guided, expected) << ranks;
    EXPECT_EQ(layout.unguided, expected) << ranks;
    EXPECT_EQ(layout.unguided.copies(), 1) << "no rank repeats work";
  }
}

TEST(UnguidedLayout, ThroughputPutsAReplicaOnEachGpu) {
  Options options;
  options.objective = Objective::throughput;
  for (int ranks = 1; ranks <= 8; ++ranks)
    EXPECT_EQ(layout_for(ranks, options).guided, comm::GridShape()) << ranks;
}

TEST(UnguidedLayout, CfgTwoIsRefusedAndNeverProposed) {
  Options options;
  options.cfg_size = 2;
  for (int ranks = 1; ranks <= 8; ++ranks) {
    try {
      layout_for(ranks, options);
      ADD_FAILURE() << ranks;
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr("--cfg-size 2: with guidance scale 1 there is only one pass"));
    }
    const LayoutChoice choice =
        weigh_layouts({}, {.ranks = ranks, .memory_bytes = 140 * gib}, distilled_model());
    for (const LayoutCandidate& candidate : choice.candidates) EXPECT_EQ(candidate.grid.cfg, 1);
  }
}

TEST(UnguidedLayout, ARowWithGuidanceBringsCfgBack) {
  Options options;
  options.plan = true;
  options.gpus = 2;
  const auto planned = [&](const std::string& csv) {
    RunInput input = input_of(csv);
    input.checkpoint.task.defaults = model::distilled_defaults(input.checkpoint.task.defaults);
    parallel::PlanInput plan = describe_model(input, options, false);
    EXPECT_EQ(plan.sample_steps, 4);
    return choose_layout(options, {.ranks = 2, .memory_bytes = 140 * gib}, plan);
  };
  EXPECT_EQ(planned("prompt\na\nb\n").guided, (comm::GridShape{2, 1, 2}));
  EXPECT_EQ(planned("prompt,sample_guide_scale\na,1.0000001\n").guided, (comm::GridShape{2, 1, 2}))
      << "1 to within 1e-6";
  const RunLayout mixed = planned("prompt,sample_guide_scale\na,\nb,3\n");
  EXPECT_EQ(mixed.guided, (comm::GridShape{2, 2, 1}));
  EXPECT_EQ(mixed.unguided, (comm::GridShape{2, 1, 2}));
}

std::string report_for(int ranks, Objective objective, int writers) {
  Options options;
  options.objective = objective;
  const MachineSize machine{.ranks = ranks, .memory_bytes = 140 * gib, .writers = writers};
  parallel::PlanInput plan = distilled_model();
  choose_layout(options, machine, plan);
  return plan_report({.model = plan,
                      .choice = weigh_layouts(options, machine, distilled_model()),
                      .machine = machine,
                      .manifest = {},
                      .objective = objective,
                      .task = "i2v-A14B",
                      .precision = "bf16"});
}

TEST(UnguidedPlan, SaysWhichOfBothObjectivesItTookAndWhatTheOtherBrings) {
  const std::string latency = report_for(8, Objective::latency, 4);
  EXPECT_THAT(latency, AllOf(HasSubstr("guidance         none"),
                             HasSubstr("objective        latency: cfg1 x ulysses8 in 1 group: "),
                             HasSubstr("--objective throughput is for cfg1 x ulysses1 in 8 groups: "),
                             HasSubstr("cfg1 x ulysses8   "), Not(HasSubstr("cfg2"))));
  const std::string throughput = report_for(8, Objective::throughput, 4);
  EXPECT_THAT(throughput, AllOf(HasSubstr("objective        throughput: cfg1 x ulysses1 in 8 groups: "),
                                HasSubstr("--objective latency is for cfg1 x ulysses8 in 1 group: ")));
  EXPECT_THAT(report_for(1, Objective::latency, 4), HasSubstr("no other layout makes more items an hour"));
  EXPECT_THAT(report_for(1, Objective::throughput, 4), HasSubstr("no other layout makes an item sooner"));
}

TEST(UnguidedPlan, KnowsTheSharesOfVaeAndWriting) {
  const parallel::PlanInput plan = on_grid({});
  const parallel::ItemTime time = parallel::expected_item_time(plan);
  const double made_s = time.total_s() - time.write_s;
  const std::string alone = report_for(1, Objective::latency, 4);
  EXPECT_THAT(alone,
              HasSubstr(fmt::format("shares           of {:.2f} s before it is written: steps {:.0f} %, VAE "
                                    "{:.0f} %; 4 threads write beside the next items\n",
                                    made_s, 100 * time.denoise_s / made_s,
                                    100 * (time.encode_s + time.decode_s) / made_s)));
  EXPECT_THAT(report_for(1, Objective::latency, 0),
              HasSubstr(fmt::format("; then the group waits {:.2f} s for H.264\n", time.write_s)));
  EXPECT_THAT(report_for(8, Objective::latency, 1), HasSubstr("; writing limits the group: 1 thread finish"));
}

TEST(UnguidedPlan, WritersThatLimitTheGroupCountInItemsPerHour) {
  const auto per_hour = [](int writers) {
    const MachineSize machine{.ranks = 8, .memory_bytes = 140 * gib, .writers = writers};
    return weigh_layouts({}, machine, distilled_model()).taken().items_per_hour;
  };
  const parallel::ItemTime time = parallel::expected_item_time(on_grid({8, 1, 8}));
  EXPECT_NEAR(per_hour(1), 3600 / time.write_s, 1e-6);
  EXPECT_NEAR(per_hour(64), 3600 / (time.total_s() - time.write_s), 1e-6);
}

TEST(UnguidedPlan, APassAloneTakesHalfOfTwo) {
  parallel::PlanInput guided = on_grid({});
  const double one = parallel::make_plan(guided).step_s;
  guided.guided = true;
  EXPECT_NEAR(parallel::make_plan(guided).step_s, 2 * one, 0.1 * one);
}

/// I2V-A14B at 480p, 40 steps, whose low-noise expert has no guidance.
parallel::PlanInput mixed_model() {
  parallel::PlanInput plan = full_model(true);
  plan.unguided_steps = 26;
  return plan;
}

parallel::PlanInput mixed_on(const comm::GridShape& grid) {
  parallel::PlanInput plan = mixed_model();
  plan.grid = grid;
  plan.unguided_grid = parallel::unguided_shape(grid, {}, plan.transformer.num_heads);
  return plan;
}

TEST(MixedGuidance, AnUnguidedStepTakesLittleMoreThanHalfOfAGuidedOne) {
  for (const comm::GridShape& grid : {comm::GridShape{1, 1, 1}, {2, 2, 1}, {2, 1, 2}, {4, 2, 2}, {8, 2, 4}}) {
    for (const kernels::TokenGrid& tokens : {kernels::TokenGrid{21, 30, 52}, {21, 45, 80}}) {
      parallel::PlanInput input = mixed_on(grid);
      input.tokens = tokens;
      const parallel::Plan plan = parallel::make_plan(input);
      EXPECT_LE(plan.unguided_step_s, 0.55 * plan.step_s) << parallel::describe(grid);
      EXPECT_GT(plan.unguided_step_s, 0.45 * plan.step_s);
    }
  }
}

TEST(MixedGuidance, CopiesMakeNoStepFaster) {
  parallel::PlanInput input = mixed_on({2, 2, 1});
  input.unguided_grid = parallel::unguided_shape(input.grid, {.ulysses_size = 1}, 40);
  ASSERT_EQ(input.unguided_grid.copies(), 2);
  const parallel::Plan plan = parallel::make_plan(input);
  EXPECT_GT(plan.unguided_step_s, 0.9 * plan.step_s);
}

TEST(MixedGuidance, TimesCountEachKindOfStep) {
  const parallel::PlanInput input = mixed_on({2, 2, 1});
  const parallel::ItemTime time = parallel::expected_item_time(input);
  EXPECT_DOUBLE_EQ(time.denoise_s, 14 * time.step_s + 26 * time.unguided_step_s);
  parallel::PlanInput guided = input;
  guided.unguided_steps = 0;
  EXPECT_DOUBLE_EQ(parallel::expected_item_time(guided).denoise_s, 40 * time.step_s);
  EXPECT_EQ(parallel::expected_item_time(guided).unguided_step_s, 0);
}

TEST(MixedGuidance, ASitesOwnFiguresCountForTheKindOfStepThatTheyAreOf) {
  parallel::PlanInput input = mixed_on({2, 2, 1});
  const PixelSize size{.width = 832, .height = 480};
  const parallel::SiteVideo unguided{
      .cfg = 1, .ulysses = 2, .size = size, .guided = false, .step = {.seconds = 1.7, .starts = 6}};
  const parallel::SiteVideo guided{
      .cfg = 2, .ulysses = 1, .size = size, .guided = true, .step = {.seconds = 3, .starts = 5}};
  input.site = std::make_shared<parallel::SiteFigures>(
      parallel::SiteFigures{.file = "r.json", .gpu = "H200", .videos = {unguided, guided}});
  const parallel::ItemTime time = parallel::expected_item_time(input);
  EXPECT_EQ(time.step_s, 3);
  EXPECT_EQ(time.unguided_step_s, 1.7);
  EXPECT_EQ(time.sources.step, "measured, 5 starts");
  EXPECT_EQ(time.sources.unguided_step, "measured, 6 starts");
  EXPECT_DOUBLE_EQ(time.denoise_s, 14 * 3 + 26 * 1.7);
}

TEST(MixedGuidance, MemoryIsThatOfTheDivisionThatTakesMore) {
  const parallel::PlanInput input = mixed_on({2, 2, 1});
  parallel::PlanInput guided = input;
  guided.unguided_steps = 0;
  const std::int64_t most = std::max(parallel::make_plan(guided).total_bytes(),
                                     parallel::make_plan(parallel::unguided_part(input)).total_bytes());
  EXPECT_EQ(parallel::make_plan(input).total_bytes(), most);
  EXPECT_EQ(
      parallel::request_bytes(input),
      std::max(parallel::request_bytes(guided), parallel::request_bytes(parallel::unguided_part(input))));
}

TEST(MixedGuidance, RowsTellHowManyOfTheirStepsHaveNone) {
  Options options;
  options.plan = true;
  options.gpus = 2;
  const auto planned = [&](const std::string& rows) {
    RunInput input = input_of(
        "prompt,sample_guide_scale,sample_solver,sample_shift,boundary,sample_steps\n" + rows, TaskKind::t2v);
    return describe_model(input, options, false);
  };
  EXPECT_EQ(planned("a,1:2,euler,5,0.9,4\n").unguided_steps, 2);
  EXPECT_EQ(planned("a,2:1,euler,5,0.9,4\n").unguided_steps, 2);
  EXPECT_EQ(planned("a,2:2,euler,5,0.9,4\n").unguided_steps, 0);
  EXPECT_FALSE(planned("a,2:1,euler,5,0,4\n").guided) << "no step is the low-noise expert's";
  EXPECT_TRUE(planned("a,1:2,euler,5,0,4\n").guided);
  EXPECT_EQ(planned("a,1:2,euler,5,0,4\n").unguided_steps, 0);
}

TEST(MixedGuidance, TheReportNamesBothDivisions) {
  const MachineSize machine{.ranks = 2, .memory_bytes = 140 * gib};
  parallel::PlanInput plan = mixed_model();
  choose_layout({}, machine, plan);
  const parallel::ItemTime time = parallel::expected_item_time(plan);
  const std::string report = plan_report({.model = plan,
                                          .choice = weigh_layouts({}, machine, mixed_model()),
                                          .machine = machine,
                                          .manifest = {},
                                          .objective = Objective::latency,
                                          .task = "i2v-A14B",
                                          .precision = "bf16"});
  EXPECT_THAT(report,
              AllOf(HasSubstr("layout           cfg2 x ulysses1; "),
                    HasSubstr("without guidance cfg1 x ulysses2 in 26 of 40 steps\n"),
                    HasSubstr(fmt::format("denoise: 14 steps of {:.3g} s", time.step_s)),
                    HasSubstr(fmt::format("26 steps without guidance of {:.3g} s", time.unguided_step_s)),
                    Not(HasSubstr("guidance         none"))));
}

}  // namespace
}  // namespace wan::launch
