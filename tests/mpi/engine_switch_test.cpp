// One expert waits on the host: its weights come in unit by unit, from the last step of the other one on. On
// the CPU the copies are made at once, at the first moment at which a GPU may make them.
#include <gtest/gtest.h>

#include "model/model_kind.h"
#include "mpi/engine_teams.h"
#include "mpi/scarce_memory.h"

namespace wan {
namespace {

using test::Backend;
using test::SharedFolder;

/// Few frames, and 4 steps of which 2 are each expert's.
struct Toy : test::Toy {
  explicit Toy(const char* name) : test::Toy(name, 4) { parity.request.frame_num = 5; }
};

parallel::WeightPlacement on_host(bool is_sharded) {
  parallel::WeightPlacement placement;
  placement.transformers.residence = parallel::Residence::waits_on_host;
  if (is_sharded) placement.transformers.division = parallel::Division::sharded;
  return placement;
}

void expect_same(const test::RankWorld& ranks, const test::Made& made, const test::Made& expected) {
  if (ranks.rank() != 0) return;
  EXPECT_TRUE(at::equal(made.latent, expected.latent));
  EXPECT_TRUE(at::equal(made.frames, expected.frames));
}

/// Steps of the request before the first of the second expert.
int switch_of(const Request& request) {
  return sample::first_step_without(Expert::high_noise, {.solver = request.solver,
                                                         .steps = request.sample_steps,
                                                         .shift = request.sample_shift,
                                                         .boundary = request.boundary,
                                                         .guide_scale = request.guide_scale});
}

class Switch : public testing::TestWithParam<const char*> {};

TEST_P(Switch, EveryLayoutGivesTheSameBits) {
  test::RankWorld ranks;
  const Toy toy(GetParam());
  for (const comm::GridShape& shape : test::shapes_of(ranks.size(), toy.heads)) {
    for (const bool is_sharded : {false, true}) {
      SCOPED_TRACE(fmt::format("{}, sharded {}", parallel::describe(shape), is_sharded));
      const Stopwatch clock;
      const auto engine = [&](const parallel::WeightPlacement& placement) {
        return std::make_unique<engine::WanEngine>(
            toy.folder, engine::EngineOptions{.placement = placement},
            ranks.communicators(shape, is_sharded ? Backend::deferred : Backend::mpi, toy.heads), clock);
      };
      const test::Made plain =
          test::make(*engine(is_sharded ? test::all_sharded : parallel::WeightPlacement()), toy.request());
      const auto switching = engine(on_host(is_sharded));
      expect_same(ranks, test::make(*switching, toy.request()), plain);
      expect_same(ranks, test::make(*switching, toy.request()), plain);
    }
  }
}

/// Whatever the arena holds when a run stops, the next item finds its own expert.
TEST_P(Switch, ItemsAfterAStopHaveTheSameBits) {
  test::RankWorld ranks;
  const Toy toy(GetParam());
  const SharedFolder out(ranks);
  const comm::GridShape shape = test::shapes_of(ranks.size(), toy.heads).back();
  const int last_of_first = switch_of(toy.request());
  ASSERT_GT(last_of_first, 0);
  ASSERT_LT(last_of_first, toy.request().sample_steps);
  const Stopwatch clock;
  const bool is_sharded = ranks.size() > 1;
  engine::WanEngine switching(toy.folder, {.placement = on_host(is_sharded)},
                              ranks.communicators(shape, Backend::mpi, toy.heads), clock);
  engine::WanEngine plain(toy.folder,
                          {.placement = is_sharded ? test::all_sharded : parallel::WeightPlacement()},
                          ranks.communicators(shape, Backend::mpi, toy.heads), clock);
  const test::Made whole = test::make(plain, toy.request());
  test::SilentObserver observer;
  for (const int stop : {last_of_first - 1, last_of_first, last_of_first + 1}) {
    if (stop == 0) continue;
    SCOPED_TRACE(stop);
    const OutputPaths first{.video = out / "1.mp4", .state = out / "state"};
    test::ScriptedControl control({{stop, StepAction::stop}});
    EXPECT_EQ(switching.run(toy.request(), first, observer, control, {}).end, RunEnd::stopped);
    expect_same(ranks, test::make(switching, toy.request()), whole);  // another item comes first
    const OutputPaths second{.video = out / "2.mp4", .latents = out / "2", .resume_from = out / "state"};
    test::NoControl none;
    EXPECT_EQ(switching.run(toy.request(), second, observer, none, {}).first_step, stop);
    expect_same(ranks, ranks.rank() == 0 ? test::read_outputs(second) : test::Made(), whole);
    expect_same(ranks, test::make(switching, toy.request()), whole);
  }
}

/// An item of one step needs one expert only.
TEST_P(Switch, ItemsOfOneExpertComeBetween) {
  test::RankWorld ranks;
  const Toy toy(GetParam());
  Request single = toy.request();
  single.sample_steps = 1;
  const comm::GridShape shape = test::shapes_of(ranks.size(), toy.heads).front();
  const Stopwatch clock;
  std::vector<std::vector<test::Made>> made;
  for (const auto& placement : {parallel::WeightPlacement(), on_host(false)}) {
    engine::WanEngine engine(toy.folder, {.placement = placement},
                             ranks.communicators(shape, Backend::mpi, toy.heads), clock);
    auto& results = made.emplace_back();
    for (const Request& request : {single, toy.request(), single, single})
      results.push_back(test::make(engine, request));
  }
  for (std::size_t i = 0; i < made.front().size(); ++i) expect_same(ranks, made[1][i], made[0][i]);
}

INSTANTIATE_TEST_SUITE_P(Reference, Switch, testing::Values("i2v_landscape", "t2v_square"));

/// A rank's experts in an arena, seen from outside.
class ArenaContent : public testing::Test {
 protected:
  /// The number of units that hold this expert's weights.
  std::size_t units_of(Expert expert) const {
    const parallel::WeightShards& arena = *experts_.front().shards;
    const parallel::WeightShards& own = *alone_.at(expert == Expert::high_noise ? 0 : 1).shards;
    std::size_t count = 0;
    for (std::size_t unit = 0; unit < own.units().size(); ++unit) {
      const auto at = static_cast<int>(unit);
      if (at::equal(arena.slice(at), own.slice(at))) ++count;
    }
    return count;
  }

  Toy toy_{"i2v_landscape"};
  engine::ExpertFiles high_ = engine::open_expert(toy_.folder.experts.front().path);
  engine::ExpertFiles low_ = engine::open_expert(toy_.folder.experts.back().path);
  std::vector<engine::ExpertModel> models_{engine::expert_model(Expert::high_noise, high_),
                                           engine::expert_model(Expert::low_noise, low_)};
  std::vector<engine::ExpertShards> experts_ =
      engine::read_experts(models_, on_host(false).transformers, {}, 0, 1);
  std::vector<engine::ExpertShards> alone_ = engine::read_experts(models_, {}, {}, 0, 1);
};

/// The last step of an expert leaves the other one's weights; the last step of an item, the first one's.
TEST_F(ArenaContent, IsThatOfTheNextExpertAfterTheLastStepOfOne) {
  auto group = test::lone_communicators();
  engine::Denoiser denoiser(experts_, {.placement = on_host(false).transformers}, group);
  const engine::DenoiseInput input{
      .start = {.steps_done = 0, .latent = toy_.parity.tensor("noise").clone(), .history = {}},
      .condition = at::randn({20, toy_.parity.tensor("noise").size(1), toy_.parity.tensor("noise").size(2),
                              toy_.parity.tensor("noise").size(3)}),
      .context = toy_.parity.tensor("text.context"),
      .negative_context = toy_.parity.tensor("text.negative_context"),
      .settings = {.solver = Solver::euler, .steps = 4, .shift = 5, .boundary = 0.9, .guide_scale = {3, 3}}};
  const std::size_t units = experts_.front().shards->units().size();
  const std::array after{Expert::high_noise, Expert::low_noise, Expert::low_noise, Expert::high_noise};
  for (int item = 0; item < 2; ++item) {
    int steps = 0;
    denoiser.reserve();
    denoiser.run(input, group,
                 [&](const sample::StepRequest& step, const sample::Prediction&, const at::Tensor&,
                     const engine::StepTimes& times) {
                   ++steps;
                   EXPECT_EQ(units_of(after.at(static_cast<std::size_t>(step.index))), units) << step.index;
                   if (item == 0 && step.index == 0) return;  // the first expert comes in for the first time
                   const bool copies = step.index == 1 || step.index == 3;
                   const double copied_s = times.part_s[static_cast<std::size_t>(Part::host_copy)];
                   EXPECT_GT(times.wall_s, copied_s);
                   if (copies) {
                     EXPECT_GT(copied_s, 0);
                   }
                 });
    EXPECT_EQ(steps, 4);
  }
}

/// Memory runs out in the step that gives the arena to the other expert.
TEST(MemoryThatRunsOut, AtTheSwitchLeavesTheNextItemItsBits) {
  test::RankWorld ranks;
  const Toy toy("i2v_landscape");
  const SharedFolder out(ranks);
  const comm::GridShape shape = test::shapes_of(ranks.size(), toy.heads).back();
  const Stopwatch clock;
  test::ScarceMemory memory;
  engine::WanEngine engine(toy.folder, {.placement = on_host(ranks.size() > 1)},
                           ranks.communicators(shape, Backend::mpi, toy.heads), clock);
  const test::Made whole = test::make(engine, toy.request());
  const int last = switch_of(toy.request()) - 1;
  std::int64_t refused = -1;
  engine.set_step_listener([&](const sample::StepRequest& step, const sample::Prediction&, const at::Tensor&,
                               const engine::StepTimes&) {
    if (step.index + 1 == last && ranks.rank() + 1 == ranks.size()) memory.begin(refused);
    if (step.index == last) memory.end();
  });
  test::SilentObserver observer;
  test::NoControl control;
  const auto run = [&] {
    engine.run(toy.request(), {.video = out / "v.mp4", .state = out / "state"}, observer, control, {});
  };
  ASSERT_GT(last, 0);
  run();
  std::int64_t allocations = memory.allocations();
  ranks.world().all_reduce(std::span(&allocations, 1), comm::ReduceOp::max).wait();
  int failures = 0;
  for (const std::int64_t share : {1, 2, 3}) {
    refused = allocations * share / 4;
    try {
      run();
    } catch (const MemoryError& error) {
      EXPECT_EQ(error.stage(), "denoise");
      ++failures;
    }
    memory.end();
    refused = -1;
    expect_same(ranks, test::make(engine, toy.request()), whole);
  }
  EXPECT_GT(failures, 0);
}

/// The group that helps has its own arena, which holds whatever its own items left there.
TEST(Teams, ThatTakeOverAtTheSwitchGiveTheSameBits) {
  test::RankWorld ranks;
  if (ranks.size() != 2) GTEST_SKIP() << "a team of 2 groups";
  const Toy toy("i2v_landscape");
  const SharedFolder out(ranks);
  std::vector<test::Made> made;
  for (const auto& placement : {parallel::WeightPlacement(), on_host(false)}) {
    test::Teams teams(ranks, toy, {}, {.placement = placement});
    for (const int stop : {switch_of(toy.request()) - 1, switch_of(toy.request())}) {
      const OutputPaths outputs{.video = out / "v.mp4", .latents = out / "latent"};
      test::ScriptedControl alone({{stop, StepAction::hand_over}});
      if (ranks.rank() == 1) {
        EXPECT_EQ(teams.run(outputs, alone, {}).end, RunEnd::handed_over);
      }
      test::ScriptedControl control({});
      EXPECT_EQ(teams.run(outputs, control, {.width = 2, .leader = 1}).end, RunEnd::finished);
      if (ranks.rank() == 1) made.push_back(test::read_outputs(outputs));
    }
  }
  if (ranks.rank() != 1) return;
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(at::equal(made[i].latent, made[i + 2].latent)) << i;
    EXPECT_TRUE(at::equal(made[i].frames, made[i + 2].frames)) << i;
  }
}

/// The LoRAs are in the weights that wait on the host.
TEST(Loras, AreInBothExpertsThatTakeTurns) {
  test::RankWorld ranks;
  const Toy toy("lightning_i2v");
  if (test::shapes_of(ranks.size(), toy.heads).empty()) GTEST_SKIP() << "no layout";
  std::vector<std::string> notes;
  const LoraChoice folder{.path = toy.parity.folder / "lora"};
  const lora::LoraSet loras =
      lora::resolve_loras(std::span(&folder, 1), model::model_kind("i2v-A14B"), notes);
  const comm::GridShape shape = test::shapes_of(ranks.size(), toy.heads).back();
  const Stopwatch clock;
  std::vector<test::Made> made;
  for (const auto& placement : {parallel::WeightPlacement(), on_host(false)}) {
    engine::WanEngine engine(toy.folder, {.placement = placement, .loras = {.sets = {loras}}},
                             ranks.communicators(shape, Backend::mpi, toy.heads), clock);
    for (int item = 0; item < 2; ++item) made.push_back(test::make(engine, toy.request()));
  }
  for (std::size_t i = 1; i < made.size(); ++i) expect_same(ranks, made[i], made[0]);
}

}  // namespace
}  // namespace wan
