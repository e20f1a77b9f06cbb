#include "launch/run_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "apps/bench_options.h"
#include "engine/model_description.h"
#include "launch/plan_report.h"
#include "layout_inputs.h"
#include "model/model_kind.h"
#include "parallel/item_time.h"
#include "wan/error.h"

namespace wan::launch {
namespace {

using parallel::Division;
using parallel::Residence;
using test::full_model;
using test::gib;
using test::input_of;
using test::placed;
using ::testing::HasSubstr;

RunLayout layout_for(int ranks, std::uint64_t gpu_bytes, const Options& options = {}) {
  parallel::PlanInput plan = full_model(true);
  return choose_layout(options, {.ranks = ranks, .memory_bytes = gpu_bytes}, plan);
}

std::string refusal_for(int ranks, std::uint64_t gpu_bytes, const Options& options = {}) {
  try {
    layout_for(ranks, gpu_bytes, options);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ModelDescription, IsTheOfficialOnesSize) {
  const engine::ModelDescription model = engine::describe_named_model("i2v-A14B");
  std::int64_t elements = 0;
  for (const checkpoint::UnitLayout& unit : checkpoint::transformer_units(model.transformer))
    elements += unit.elements();
  EXPECT_EQ(elements, 14'288'901'184);  // (model.md 1.3)
  EXPECT_EQ(model.vae_parameters(), 126'892'531);
  std::int64_t text = model.text_encoder.vocabulary * model.text_encoder.dim;
  for (const checkpoint::UnitLayout& unit : checkpoint::text_encoder_units(model.text_encoder))
    text += unit.elements();
  EXPECT_EQ(text, 5'680'910'336);
  EXPECT_THROW(engine::describe_named_model("i2v-B14A"), UsageError);
}

TEST(Residency, WeightsAreWholeWhereTheyFitThenShardedThenOneExpertLeaves) {
  const RunLayout large = layout_for(4, 140 * gib);
  EXPECT_EQ(large.placement, placed({}, Division::whole));
  const RunLayout medium = layout_for(4, 40 * gib);
  EXPECT_EQ(medium.placement, placed({Division::sharded}, Division::sharded));
  const RunLayout small = layout_for(4, 16 * gib);
  EXPECT_EQ(small.placement, placed({Division::sharded, Residence::waits_on_host}, Division::sharded));
  const RunLayout alone = layout_for(1, 48 * gib);
  EXPECT_EQ(alone.placement, placed({Division::whole, Residence::waits_on_host}, Division::whole))
      << "there is nobody to share with";
}

TEST(Residency, WishesAreObeyedOrRefused) {
  Options options;
  options.dit_fsdp = Switch::on;
  EXPECT_TRUE(layout_for(4, 140 * gib, options).placement.transformers.is_sharded());
  options = {};
  options.offload_model = Offload::on;
  EXPECT_TRUE(layout_for(2, 140 * gib, options).placement.transformers.waits_on_host());
  options = {};
  options.offload_model = Offload::off;
  EXPECT_THAT(refusal_for(1, 48 * gib, options), HasSubstr("needs"));
}

TEST(Residency, ExpertsTakeTurnsWhereNeitherGpuNorHostHoldsBoth) {
  const auto layout = [](std::uint64_t gpu_gib, std::uint64_t host_gib, const Options& options) {
    parallel::PlanInput plan = full_model(true);
    return choose_layout(
        options, {.ranks = 1, .memory_bytes = gpu_gib * gib, .host_memory_bytes = host_gib * gib}, plan);
  };
  const parallel::NetworkPlacement in_turns{Division::whole, Residence::takes_turns};
  EXPECT_EQ(layout(48, 56, {}).placement.transformers, in_turns);
  EXPECT_THAT(describe(layout(48, 56, {})), testing::EndsWith(", one expert at a time"));
  EXPECT_TRUE(layout(48, 96, {}).placement.transformers.waits_on_host()) << "the host holds both";
  EXPECT_EQ(layout(140, 56, {}).placement, placed({}, Division::whole)) << "the GPU holds both";
  Options options;
  options.offload_model = Offload::disk;
  EXPECT_EQ(layout(140, 500, options).placement.transformers, in_turns) << "a wish";
  // Reading both experts takes 28.6 s, and an item's steps 4.93 s each.
  EXPECT_EQ(layout(140, 500, options).items_in_turn, 8);
  EXPECT_EQ(layout(140, 500, {}).items_in_turn, 0);
}

TEST(Residency, OneExpertTakesNoTurns) {
  Options options;
  options.offload_model = Offload::disk;
  parallel::PlanInput plan = full_model(true);
  plan.experts = 1;
  EXPECT_THROW(choose_layout(options, {.ranks = 1, .memory_bytes = 140 * gib}, plan), UsageError);
  plan.experts = 2;
  plan.has_files = false;
  EXPECT_THROW(choose_layout(options, {.ranks = 1, .memory_bytes = 140 * gib}, plan), UsageError);
}

TEST(Residency, OnCpuRanksTheHostsMemoryDecides) {
  parallel::PlanInput plan = full_model(false);
  plan.element_bytes = 4;
  plan.placement.text_encoder.residence = Residence::resident;
  const MachineSize small{.ranks = 1, .memory_bytes = 160 * gib};
  const MachineSize large{.ranks = 1, .memory_bytes = 320 * gib};
  parallel::PlanInput of_small = plan;
  EXPECT_TRUE(choose_layout({}, small, of_small).placement.transformers.takes_turns());
  // Where turns would not do either, they gain nothing.
  const MachineSize tiny{.ranks = 1, .memory_bytes = 16 * gib};
  of_small = plan;
  EXPECT_FALSE(choose_layout({}, tiny, of_small).placement.transformers.takes_turns());
  EXPECT_FALSE(choose_layout({}, large, plan).placement.transformers.takes_turns());
}

TEST(Residency, ALayoutThatCannotBeIsRefusedWithTheOptionsName) {
  Options options;
  options.group_size = 3;
  EXPECT_THAT(refusal_for(4, 140 * gib, options),
              HasSubstr("--group-size 3 does not divide the number of ranks, 4"));
}

TEST(Residency, SaysByHowMuchNothingFits) {
  const std::string message = refusal_for(1, 24 * gib);
  EXPECT_THAT(message, HasSubstr("more than the"));
  EXPECT_THAT(message, HasSubstr("GiB"));
  EXPECT_THAT(message, HasSubstr("--group-size"));
}

TEST(Residency, SaysHowManyGpusWouldDo) {
  EXPECT_THAT(refusal_for(1, 24 * gib), HasSubstr("; 2 such GPUs would do; "));
  EXPECT_EQ(refusal_for(2, 24 * gib), "accepted");
  EXPECT_THAT(refusal_for(1, 2 * gib), HasSubstr("no number of such GPUs up to 64 would do"));
  Options options;
  options.group_size = 1;
  EXPECT_THAT(refusal_for(2, 24 * gib, options), HasSubstr("no number of such GPUs up to 64 would do"));
}

TEST(Layout, TimesAreThoseOfTheMachine) {
  const auto item_s = [](const char* gpu) {
    const MachineSize machine{
        .ranks = 4, .memory_bytes = 140 * gib, .figures = parallel::choose_machine(gpu)};
    return weigh_layouts({}, machine, full_model(true)).taken().item_s;
  };
  EXPECT_GT(item_s("NVIDIA H100 80GB HBM3"), item_s("NVIDIA H200"));
  EXPECT_EQ(item_s("NVIDIA A100-SXM4-80GB"), item_s("NVIDIA H200"));
}

TEST(Layout, ThroughputTakesTheSmallestGroupThatFits) {
  Options options;
  options.objective = Objective::throughput;
  EXPECT_EQ(layout_for(8, 140 * gib, options).guided, (comm::GridShape{1, 1, 1}));
  EXPECT_FALSE(layout_for(8, 140 * gib, options).placement.transformers.waits_on_host());
  EXPECT_EQ(layout_for(8, 48 * gib, options).guided, (comm::GridShape{1, 1, 1}));
  EXPECT_TRUE(layout_for(8, 48 * gib, options).placement.transformers.waits_on_host());
  options.offload_model = Offload::off;
  EXPECT_EQ(layout_for(8, 48 * gib, options).guided, (comm::GridShape{2, 2, 1}));
  EXPECT_EQ(layout_for(8, 24 * gib, options).guided, (comm::GridShape{4, 2, 2}));
  EXPECT_TRUE(layout_for(8, 24 * gib, options).placement.transformers.is_sharded());
  EXPECT_THAT(refusal_for(8, 10 * gib, options), HasSubstr("no layout of 8 GPUs fits"));
  options.group_size = 2;
  EXPECT_THAT(refusal_for(8, 24 * gib, options), HasSubstr("cfg2 x ulysses1"))
      << "what the user sets is obeyed";
}

TEST(Layout, LatencyTakesTheLargestGroupThatFits) {
  EXPECT_EQ(layout_for(8, 140 * gib).guided, (comm::GridShape{8, 2, 4}));
  EXPECT_EQ(layout_for(8, 24 * gib).guided, (comm::GridShape{8, 2, 4}));
}

TEST(Layout, AnExpertGoesToTheHostOnlyIfTheHostHasRoom) {
  Options options;
  options.objective = Objective::throughput;
  const auto choice_with = [&](std::uint64_t host_bytes) {
    return weigh_layouts(options, {.ranks = 8, .memory_bytes = 48 * gib, .host_memory_bytes = host_bytes},
                         full_model(true));
  };
  EXPECT_EQ(choice_with(100 * gib).taken().grid.group_size, 1);
  EXPECT_NEAR(static_cast<double>(choice_with(100 * gib).taken().host_bytes), 57.16e9, 1e8);
  const LayoutChoice tight = choice_with(32 * gib);
  EXPECT_EQ(tight.taken().grid.group_size, 2);
  EXPECT_TRUE(tight.taken().placement.transformers.is_sharded());
  EXPECT_FALSE(tight.taken().placement.transformers.waits_on_host());
}

TEST(Layout, OnTheCpuASmallerShareAsksForALargerGroup) {
  Options options;
  options.objective = Objective::throughput;
  parallel::PlanInput plan = full_model(false);
  plan.element_bytes = 4;
  EXPECT_EQ(choose_layout(options, {.ranks = 4, .memory_bytes = 400 * gib}, plan).guided.group_size, 1);
  EXPECT_GT(choose_layout(options, {.ranks = 4, .memory_bytes = 120 * gib}, plan).guided.group_size, 1);
  // Nothing fits: memory can be swapped, so it is tried all the same.
  EXPECT_EQ(choose_layout(options, {.ranks = 4, .memory_bytes = gib}, plan).guided.group_size, 4);
}

TEST(Layout, RefusesHeadChunksThatDoNotFit) {
  const auto outcome = [](const parallel::HeadChunkWish& wish) {
    Options options;
    options.head_chunks = wish;
    return refusal_for(4, 140 * gib, options);  // cfg2 x ulysses2, and without guidance ulysses4
  };
  EXPECT_EQ(outcome({}), "accepted");
  EXPECT_EQ(outcome({.count = 4}), "accepted") << "10 heads without guidance are divided by themselves";
  EXPECT_EQ(outcome({.sizes = {3, 17}}), "accepted");
  EXPECT_EQ(outcome({.count = 3}),
            "--head-chunks 3 does not divide the 20 heads of each of 2 ranks; give a number that does, or "
            "leave it on auto");
  EXPECT_EQ(outcome({.sizes = {3, 7}}),
            "--head-chunks 3+7 does not add up to the 20 heads of each of 2 ranks; give heads that do, or "
            "leave it on auto");
  Options options;
  options.head_chunks = {.count = 14};
  EXPECT_EQ(refusal_for(3, 140 * gib, options),
            "--head-chunks 14 does not fit 40 heads over 3 ranks: it must divide 14, the most heads of a "
            "rank, with "
            "a chunk of 2 heads or more, from which ranks with 13 leave one out");
  options.head_chunks = {.sizes = {4, 10}};
  EXPECT_EQ(refusal_for(3, 140 * gib, options), "accepted");
}

std::map<std::string, std::string> reasons_for(const Options& options, const MachineSize& machine) {
  const LayoutChoice choice = weigh_layouts(options, machine, full_model(true));
  std::map<std::string, std::string> reasons;
  for (std::size_t i = 0; i < choice.candidates.size(); ++i) {
    const LayoutCandidate& candidate = choice.candidates[i];
    reasons[parallel::describe(candidate.grid) + " " +
            parallel::describe_transformers(candidate.placement.transformers)] =
        choice.reason(i, options.objective);
  }
  return reasons;
}

TEST(Layout, SaysWhyOthersWereNotChosen) {
  Options options;
  auto reasons = reasons_for(options, {.ranks = 4, .memory_bytes = 48 * gib});
  EXPECT_EQ(reasons.at("cfg2 x ulysses2 sharded"), "chosen");
  EXPECT_THAT(reasons.at("cfg2 x ulysses2 whole"), HasSubstr("does not fit by"));
  EXPECT_THAT(reasons.at("cfg1 x ulysses1 one expert on the host"), HasSubstr("more time per item"));
  EXPECT_THAT(reasons.at("cfg1 x ulysses4 sharded"), HasSubstr("more time per item"));
  options.objective = Objective::throughput;
  options.cfg_size = 2;
  reasons = reasons_for(options, {.ranks = 48, .memory_bytes = 140 * gib});
  EXPECT_EQ(reasons.at("cfg2 x ulysses1 whole"), "chosen");
  EXPECT_EQ(reasons.at("cfg1 x ulysses2 whole"), "refused by --cfg-size 2");
  EXPECT_THAT(reasons.at("cfg2 x ulysses2 whole"), HasSubstr("fewer items per hour"));
  EXPECT_EQ(reasons.at("cfg1 x ulysses48 whole"), "40 heads are fewer than 48 ranks");
}

TEST(PlanReport, ShowsChoiceTimesAndAlternatives) {
  const Options options;
  const MachineSize machine{.ranks = 4, .memory_bytes = 24 * gib};
  parallel::PlanInput plan = full_model(true);
  const RunLayout layout = choose_layout(options, machine, plan);
  const ManifestTime manifest{.groups = 1, .items = 10, .total_s = 7200};
  const std::string report = plan_report({.model = plan,
                                          .choice = weigh_layouts(options, machine, plan),
                                          .machine = machine,
                                          .manifest = manifest,
                                          .objective = options.objective,
                                          .task = "i2v-A14B",
                                          .precision = "bf16"});
  for (const char* part :
       {"4 in 1 group of 4", "cfg2 x ulysses2; experts sharded over 4", "832*480, 81 frames, 40 steps",
        "with one H200 per rank",
        "figures          H200 (analysis/results/step_h200.md); the GPU is not known", "fits into 24.0 GiB",
        "for 4 in a group, bytes and times are computed from these figures\n", "precision        bf16\n",
        "i2v-A14B: measured on up to 2 GPUs (analysis/results/step_h200.md); ", "denoise: 40 steps of 1.",
        "2 h 00 min for the manifest's 10 items", "chosen", "does not fit by"})
    EXPECT_THAT(report, HasSubstr(part));
  EXPECT_TRUE(layout.placement.transformers.is_sharded());
}

TEST(PlannedManifest, NeedsNoCheckpointAndPlansForTheLargestRow) {
  Options options;
  options.plan = true;
  options.gpus = 2;
  const RunInput input = input_of("prompt,size,sample_steps\na,832*480,4\nb,1280*720,2\nc,bad,4\n");
  const parallel::PlanInput plan = describe_model(input, options, false);
  EXPECT_EQ(plan.transformer.num_heads, 40);
  EXPECT_EQ(plan.tokens, (kernels::TokenGrid{21, 45, 80}));
  EXPECT_EQ(plan.sample_steps, 2);
  EXPECT_TRUE(plan.guided && plan.on_gpu);
  EXPECT_EQ(plan.element_bytes, 2);
}

TEST(PlannedManifest, ARowThatIsTooLargeDoesNotKeepTheOthersFromBeingPlanned) {
  const RunInput input = input_of("prompt,size,frame_num\na,832*480,81\nb,1280*720,1025\nc,1280*720,81\n");
  Options options;
  options.plan = true;  // planned without a checkpoint, then looked at as a run would
  options.gpus = 1;
  const parallel::PlanInput largest = describe_model(input, options, true);
  EXPECT_EQ(largest.tokens.frames, 257);
  const auto planned = [&](std::uint64_t memory_bytes, std::int64_t too_large) {
    parallel::PlanInput plan = largest;
    EXPECT_EQ(leave_out_oversized(input, {}, {.ranks = 1, .memory_bytes = memory_bytes}, plan), too_large);
    return plan.tokens;
  };
  EXPECT_EQ(planned(140 * gib, 1), (kernels::TokenGrid{21, 45, 80}));
  EXPECT_EQ(planned(44 * gib, 2), (kernels::TokenGrid{21, 30, 52}));
  EXPECT_EQ(planned(1000 * gib, 0), largest.tokens);
  EXPECT_EQ(planned(10 * gib, 0), largest.tokens) << "nothing fits: choose_layout() says so";
  parallel::PlanInput plan = largest;
  EXPECT_EQ(leave_out_oversized(input, options, {.ranks = 1, .memory_bytes = 140 * gib}, plan), 0)
      << "--plan shows the largest";
}

TEST(PlannedManifest, GroupsShareTheRows) {
  Options options;
  options.plan = true;
  options.gpus = 2;
  options.objective = Objective::throughput;
  const auto time_of = [&](const std::string& csv, int ranks, int writers = 0) {
    const RunInput input = input_of(csv);
    parallel::PlanInput plan = describe_model(input, options, false);
    const MachineSize machine{.ranks = ranks, .memory_bytes = 140 * gib, .writers = writers};
    const RunLayout layout = choose_layout(options, machine, plan);
    return expected_manifest_time(input, plan, layout, machine);
  };
  const double small_s = time_of("prompt,size,sample_steps\na,832*480,4\n", 1).total_s;
  const double large_s = time_of("prompt,size,sample_steps\nb,1280*720,40\n", 1).total_s;
  EXPECT_GT(large_s, 10 * small_s);
  const std::string rows =
      "prompt,size,sample_steps\nb,1280*720,40\na,832*480,4\nc,832*480,4\nd,nonsense,4\n";
  const ManifestTime two = time_of(rows, 2);
  EXPECT_EQ(two.groups, 2);
  EXPECT_EQ(two.items, 3) << "a bad row takes no time";
  EXPECT_NEAR(two.total_s, large_s, 1e-6 * large_s) << "the small ones fit beside the large one";
  EXPECT_NEAR(time_of(rows, 1).total_s, large_s + 2 * small_s, 1e-6 * large_s);
  // With a thread that writes, only the last video's writing has nothing beside it.
  const std::string one_row = "prompt,size,sample_steps\na,832*480,40\n";
  const std::string three_rows = one_row + "b,832*480,40\nc,832*480,40\n";
  const double alone_s = time_of(one_row, 1).total_s;
  EXPECT_DOUBLE_EQ(time_of(one_row, 1, 1).total_s, alone_s);
  const double beside_s = time_of(three_rows, 1, 0).total_s - time_of(three_rows, 1, 1).total_s;
  EXPECT_NEAR(beside_s, 2 * parallel::reference_machine().h264_s_per_pixel * 832 * 480 * 81, 1e-6 * alone_s);
}

TEST(BenchOptions, DefaultsAndSharedOptions) {
  const std::vector<std::string> none;
  const BenchSettings defaults = apps::parse_bench_options(none).options.bench;
  EXPECT_EQ(defaults.model, "i2v-A14B");
  EXPECT_EQ(defaults.size, (PixelSize{832, 480}));
  EXPECT_EQ(defaults.frame_num, 81);
  EXPECT_EQ(defaults.steps, 3);
  EXPECT_EQ(defaults.warmup, 1);
  EXPECT_TRUE(defaults.part_times);
  const std::vector<std::string> some{"--steps",     "5",     "--dit-fsdp",   "--ulysses_size=2",
                                      "--attention", "cudnn", "--part-times", "off"};
  const Options options = apps::parse_bench_options(some).options;
  EXPECT_EQ(options.bench.steps, 5);
  EXPECT_FALSE(options.bench.part_times);
  EXPECT_EQ(options.dit_fsdp, Switch::on);
  EXPECT_EQ(options.ulysses_size, 2);
  EXPECT_EQ(options.attention, kernels::parse_attention_backend("cudnn"));
}

TEST(BenchOptions, WhatIsOfABatchAloneIsUnknown) {
  for (const char* argument : {"--ckpt-dir=x", "rows.csv", "--resume", "--steps=0"}) {
    const std::vector<std::string> arguments{argument};
    EXPECT_THROW(apps::parse_bench_options(arguments), UsageError) << argument;
  }
}

}  // namespace
}  // namespace wan::launch
