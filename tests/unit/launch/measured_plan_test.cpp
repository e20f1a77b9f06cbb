// Measurements of lent machines, held against the plan.
#include <gtest/gtest.h>

#include "launch/run_layout.h"
#include "layout_inputs.h"
#include "parallel/item_time.h"

namespace wan::launch {
namespace {

using parallel::Division;
using parallel::Residence;
using test::full_model;
using test::gib;
using test::input_of;
using test::placed;

void use_earlier_rates(parallel::PlanInput& plan) {
  plan.machine.linear_flop_per_s = parallel::earlier_linear_flop_per_s;
  plan.machine.attention_flop_per_s = parallel::earlier_attention_flop_per_s;
}

// Memory in use on an H200, all programs together, as measured (analysis/results/gpu_h200.md).
TEST(Plan, PredictsThePeaksMeasured) {
  const auto predicted_gib = [](int ranks, bool sharded, bool offloaded, bool is_720p) {
    parallel::PlanInput plan = full_model(true);
    if (is_720p) plan.tokens = {.frames = 21, .rows = 45, .columns = 80};
    plan.grid = parallel::choose_grid({}, ranks, 40, true);
    const Division division = sharded ? Division::sharded : Division::whole;
    plan.placement = placed({division, offloaded ? Residence::waits_on_host : Residence::resident}, division);
    return static_cast<double>(parallel::make_plan(plan).total_bytes()) / static_cast<double>(gib);
  };
  EXPECT_NEAR(predicted_gib(1, false, false, false), 65.1, 0.05 * 65.1);
  EXPECT_NEAR(predicted_gib(1, false, false, true), 79.9, 0.05 * 79.9);
  EXPECT_NEAR(predicted_gib(4, true, false, false), 21.2, 0.05 * 21.2);
  EXPECT_NEAR(predicted_gib(2, true, true, true), 31.0, 0.05 * 31.0);
}

// Seconds per step and seconds of the autoencoder (analysis/results/step_h200.md), and on more GPUs those of
// the earlier kernels with their rates.
TEST(Plan, PredictsTheTimesMeasured) {
  struct Measured {
    int ranks;
    bool sharded, is_720p, earlier;
    double step_s;
  };
  for (const Measured& measured :
       {Measured{1, false, false, false, 4.928}, Measured{2, false, false, false, 2.487},
        Measured{1, false, true, false, 18.998}, Measured{1, false, false, true, 5.139},
        Measured{2, false, false, true, 2.644}, Measured{4, false, false, true, 1.399},
        Measured{4, true, false, true, 1.406}, Measured{1, false, true, true, 19.88},
        Measured{4, false, true, true, 5.263}}) {
    parallel::PlanInput plan = full_model(true);
    if (measured.is_720p) plan.tokens = {.frames = 21, .rows = 45, .columns = 80};
    plan.grid = parallel::choose_grid({}, measured.ranks, 40, true);
    if (measured.sharded) plan.placement.transformers.division = Division::sharded;
    if (measured.earlier) use_earlier_rates(plan);
    EXPECT_NEAR(parallel::make_plan(plan).step_s, measured.step_s, 0.025 * measured.step_s)
        << measured.ranks << " GPUs, 720p " << measured.is_720p << ", sharded " << measured.sharded;
  }
  parallel::PlanInput plan = full_model(true);
  plan.tokens = {.frames = 21, .rows = 45, .columns = 80};
  plan.grid = {.group_size = 4, .cfg = 2, .ulysses = 2};
  plan.sample_steps = 4;
  const parallel::ItemTime time = parallel::expected_item_time(plan);
  EXPECT_DOUBLE_EQ(time.denoise_s, 4 * parallel::make_plan(plan).step_s);
  EXPECT_EQ(time.swap_s, 0);
  // A group of one in analysis/docs/study_2xh200/traces.tar.xz, batch_2x1: text and steps.
  plan.tokens = {.frames = 13, .rows = 29, .columns = 52};
  plan.grid = {};
  const parallel::MachineModel today = plan.machine;
  use_earlier_rates(plan);
  const parallel::ItemTime small = parallel::expected_item_time(plan);
  plan.machine = today;
  constexpr double measured_s = 0.03 + 9.975;
  EXPECT_NEAR(small.text_s + small.denoise_s, measured_s, 0.05 * measured_s);
  plan.tokens = {.frames = 21, .rows = 30, .columns = 52};
  plan.grid = {.group_size = 4, .cfg = 2, .ulysses = 2};
  plan.transformer.model_type = "t2v";
  plan.placement.transformers.residence = Residence::waits_on_host;
  EXPECT_EQ(parallel::expected_item_time(plan).encode_s, 0);
  const parallel::ItemTime switching = parallel::expected_item_time(plan);
  EXPECT_NEAR(switching.copy_s, 28.58 / 55, 0.01);
  EXPECT_EQ(switching.swap_s, 0) << "the copies have the time of two steps";
  EXPECT_GT(2 * switching.step_s, switching.copy_s);
  plan.machine.host_to_gpu_bytes_per_s /= 8;  // to be slower than that
  const parallel::ItemTime slow = parallel::expected_item_time(plan);
  EXPECT_NEAR(slow.copy_s, 8 * switching.copy_s, 1e-9);
  const double late_s = slow.copy_s - 2 * slow.step_s * 41 / 42;
  EXPECT_GT(late_s, 0);
  EXPECT_NEAR(slow.swap_s, late_s + std::max(0.0, late_s - slow.decode_s), 1e-9);
}

// analysis/results/gpu_h100x2.md, "one GPU, 40 heads", and the two runs of "1 + 18 + 1".
TEST(Plan, PredictsAStepOnAnH100) {
  const auto step_s = [](const char* gpu, int ulysses) {
    parallel::PlanInput plan = full_model(true);
    plan.machine = parallel::choose_machine(gpu).model;
    plan.grid = {.group_size = ulysses, .cfg = 1, .ulysses = ulysses};
    return parallel::make_plan(plan).step_s;
  };
  EXPECT_NEAR(step_s("NVIDIA H100 80GB HBM3", 1), 5.187, 0.04 * 5.187);
  EXPECT_NEAR(step_s("NVIDIA H100 80GB HBM3", 2), (2.685 + 2.732) / 2, 0.02 * 2.7);
  EXPECT_GT(step_s("NVIDIA H100 80GB HBM3", 1), step_s("NVIDIA H200", 1));
}

// Counts over which 40 heads do not divide evenly: the rank with the most heads sets the time.
TEST(Plan, UnevenHeadsAreFasterThanFewerRanks) {
  const auto speedup = [](int ranks) {
    parallel::PlanInput plan = full_model(true);
    const double alone_s = parallel::make_plan(plan).step_s;
    plan.grid = parallel::choose_grid({}, ranks, 40, true);
    EXPECT_EQ(plan.grid.group_size, ranks);
    return alone_s / parallel::make_plan(plan).step_s;
  };
  EXPECT_GE(speedup(3), 2.7);
  EXPECT_GE(speedup(6), 5.2);
  EXPECT_GE(speedup(7), 6.1);
  for (int ranks = 2; ranks <= 8; ++ranks) EXPECT_GT(speedup(ranks), speedup(ranks - 1)) << ranks;
}

// analysis/results/no_gpu_waits_h200.md: wall time without loading, on one and two H200s. The autoencoder has
// become faster since, by the differences in convolutions_h200.md, and so has the writing of the last video,
// by those in four_steps_h200.md.
TEST(Plan, PredictsTheManifestsMeasured) {
  const auto expected_s = [](int rows, int steps, int ranks) {
    std::string csv = "image,prompt,size,sample_steps\n";
    for (int row = 0; row < rows; ++row) csv += fmt::format("a.png,a {},832*480,{}\n", row, steps);
    Options options;
    options.plan = true;
    options.gpus = ranks;
    const RunInput input = input_of(csv, TaskKind::i2v);
    parallel::PlanInput plan = describe_model(input, options, false);
    const MachineSize machine{.ranks = ranks, .memory_bytes = 140 * gib, .writers = 4};
    const RunLayout layout = choose_layout(options, machine, plan);
    return expected_manifest_time(input, plan, layout, machine).total_s;
  };
  // By the autoencoder and by a step since then.
  constexpr double saved_on_1_s = 0.486 + 2.556 - 0.212 - 0.876;
  constexpr double saved_on_2_s = 0.277 + 1.380 - 0.157 - 0.528;
  constexpr double step_saved_on_1_s = 5.139 - 4.928;
  constexpr double step_saved_on_2_s = 2.644 - 2.487;
  constexpr double writing_saved_s = 13.1 * 832 * 480 / (768 * 512) - 2.0 * 832 * 480 / (832 * 464);
  const auto expect_near = [](double expected, double earlier_s) {
    const double measured = earlier_s - writing_saved_s;
    EXPECT_NEAR(expected, measured, 0.05 * measured);
  };
  expect_near(expected_s(8, 4, 2), 111.8 - 8 * (saved_on_2_s + 4 * step_saved_on_2_s));
  expect_near(expected_s(3, 40, 2), 332.1 - 3 * (saved_on_2_s + 40 * step_saved_on_2_s));
  expect_near(expected_s(4, 4, 1), 108.3 - 4 * (saved_on_1_s + 4 * step_saved_on_1_s));
}

TEST(Plan, TheOnlyExpertLeavesTheGpuBetweenItsTurns) {
  const engine::ModelDescription model = engine::describe_named_model("ti2v-5B");
  parallel::PlanInput plan = sizes_of(model);
  plan.tokens = plan.geometry.token_grid(121, {.width = 1280, .height = 704});
  plan.on_gpu = true;
  plan.grid = {};
  const auto peak_gib = [&](Residence residence) {
    plan.placement = placed({Division::whole, residence}, Division::whole);
    return static_cast<double>(parallel::make_plan(plan).total_bytes()) / static_cast<double>(gib);
  };
  const double expert_gib = 9.31;
  EXPECT_LT(peak_gib(Residence::waits_on_host), 22) << "a card of 24 GB";
  EXPECT_NEAR(peak_gib(Residence::resident) - peak_gib(Residence::waits_on_host), expert_gib, 0.1);
}

}  // namespace
}  // namespace wan::launch
