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
  // 40 heads: the largest divisor of the ranks that divides them.
  const std::map<int, int> ulysses{{1, 1}, {2, 2}, {3, 1}, {4, 4}, {5, 5}, {6, 2}, {7, 1}, {8, 8}};
  for (const auto& [ranks, wanted] : ulysses) {
    const RunLayout layout = layout_for(ranks);
    const comm::GridShape expected{.group_size = wanted, .cfg = 1, .ulysses = wanted};
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

}  // namespace
}  // namespace wan::launch
