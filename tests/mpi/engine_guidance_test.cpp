// Guidance in one expert only: its steps put the two passes on two halves of the ranks; the steps of the
// other expert divide the tokens over all of them.
#include <gtest/gtest.h>

#include <map>

#include "model/guidance.h"
#include "mpi/engine_teams.h"
#include "parallel/plan.h"

namespace wan {
namespace {

using test::Backend;
using test::SharedFolder;
using test::Teams;

/// Few frames, and 4 steps, of which both experts make some. One of them has guidance.
struct Toy : test::Toy {
  explicit Toy(bool is_first_guided, const char* name = "i2v_landscape") : test::Toy(name, 4) {
    parity.request.frame_num = 5;
    parity.request.guide_scale = is_first_guided ? GuideScale{.low_noise = 1, .high_noise = 3.5}
                                                 : GuideScale{.low_noise = 3.5, .high_noise = 1};
  }
  sample::SamplerSettings settings() const {
    return {.solver = request().solver,
            .steps = request().sample_steps,
            .shift = request().sample_shift,
            .boundary = request().boundary,
            .guide_scale = request().guide_scale};
  }
  /// The first step of the second expert.
  int switch_step() const { return sample::first_step_without(Expert::high_noise, settings()); }
};

/// Keeps the stretches, what each rank sends in each step, and the digests of the latents.
class Recorder final : public Observer {
 public:
  void on_phase(const PhaseEvent& event) override { phases.push_back(event.phase); }
  void on_step(const StepEvent& event) override {
    steps.push_back(event);
    digests.try_emplace(event.step, event.latent_digest);
    EXPECT_EQ(digests[event.step], event.latent_digest) << "rank " << event.group_rank;
  }
  void on_stretch(const StretchEvent& stretch) override { stretches.push_back(stretch); }

  std::map<int, std::int64_t> digests;  ///< by step
  std::vector<std::string> phases;
  std::vector<StepEvent> steps;
  std::vector<StretchEvent> stretches;
};

void expect_same(const test::Made& made, const test::Made& expected) {
  EXPECT_TRUE(at::equal(made.latent, expected.latent));
  EXPECT_TRUE(at::equal(made.frames, expected.frames));
}

/// Whether the first expert is the one with guidance.
class Guidance : public testing::TestWithParam<bool> {};

TEST_P(Guidance, EveryLayoutGivesTheOneRankResult) {
  test::RankWorld ranks;
  const Toy toy(GetParam());
  const test::Made alone = ranks.rank() == 0 ? test::make_alone(toy.folder, toy.request()) : test::Made();
  for (const comm::GridShape& shape : test::shapes_of(ranks.size(), toy.heads)) {
    for (const bool is_sharded : {false, true}) {
      SCOPED_TRACE(fmt::format("{}, sharded {}", parallel::describe(shape), is_sharded));
      const Stopwatch clock;
      engine::WanEngine engine(
          toy.folder, {.placement = is_sharded ? test::all_sharded : parallel::WeightPlacement()},
          ranks.communicators(shape, is_sharded ? Backend::deferred : Backend::mpi, toy.heads), clock);
      const test::Made made = test::make(engine, toy.request());
      if (ranks.rank() == 0) expect_same(made, alone);
    }
  }
}

/// 3 heads, which 2 ranks do not divide evenly.
TEST_P(Guidance, OtherHeadsGiveTheOneRankResult) {
  test::RankWorld ranks;
  if (ranks.size() != 2) GTEST_SKIP() << "for 2 ranks";
  const Toy toy(GetParam(), "i2v_portrait_ragged");
  const comm::GridShape shape{.group_size = 2, .cfg = 2, .ulysses = 1};
  const Stopwatch clock;
  engine::WanEngine engine(toy.folder, {}, ranks.communicators(shape, Backend::mpi, toy.heads), clock);
  const test::Made made = test::make(engine, toy.request());
  if (ranks.rank() == 0) expect_same(made, test::make_alone(toy.folder, toy.request()));
}

/// The steps and stretches of a request as the leader hears of them.
TEST_P(Guidance, StretchesSayHowTheirStepsAreDivided) {
  test::RankWorld ranks;
  const Toy toy(GetParam());
  const SharedFolder out(ranks);
  const comm::GridShape shape = test::shapes_of(ranks.size(), toy.heads).back();  // cfg 2 where it can be
  const Stopwatch clock;
  engine::WanEngine engine(toy.folder, {}, ranks.communicators(shape, Backend::mpi, toy.heads), clock);
  Recorder recorder;
  test::NoControl control;
  const RequestReport report = engine.run(toy.request(), {.video = out / "1.mp4"}, recorder, control, {});
  const std::string unguided = fmt::format("cfg1 x ulysses{}", ranks.size());
  const std::string others = shape.cfg == 2 ? fmt::format(" (without guidance {})", unguided) : "";
  EXPECT_EQ(report.layout, parallel::describe(shape) + others);
  if (ranks.rank() != 0) return;
  Recorder alone;
  engine::WanEngine(toy.folder, {}, test::lone_communicators(), clock)
      .run(toy.request(), {.video = out / "2.mp4"}, alone, control, {});
  EXPECT_EQ(recorder.digests, alone.digests);
  EXPECT_EQ(std::ranges::count(recorder.phases, "denoise"), 1);
  EXPECT_EQ(recorder.steps.size(), static_cast<std::size_t>(toy.request().sample_steps * ranks.size()));
  ASSERT_EQ(recorder.stretches.size(), 2U);
  const StretchEvent& guided = recorder.stretches[GetParam() ? 0 : 1];
  const StretchEvent& other = recorder.stretches[GetParam() ? 1 : 0];
  EXPECT_EQ(recorder.stretches[0].first_step, 0);
  EXPECT_EQ(recorder.stretches[1].first_step, toy.switch_step());
  EXPECT_EQ(guided.layout, parallel::describe(shape));
  EXPECT_EQ(guided.passes, 2);
  EXPECT_EQ(other.layout, unguided);
  EXPECT_EQ(other.passes, 1);
}

/// By its tokens, its predictions and the bytes that it sends, no rank is idle or repeats another's work.
TEST_P(Guidance, EveryRankComputesItsShareOfAnUnguidedStep) {
  test::RankWorld ranks;
  const Toy toy(GetParam());
  const SharedFolder out(ranks);
  const comm::GridShape shape = test::shapes_of(ranks.size(), toy.heads).back();
  const Stopwatch clock;
  engine::WanEngine engine(toy.folder, {}, ranks.communicators(shape, Backend::mpi, toy.heads), clock);
  const model::TokenGrid grid = model::wan21_geometry.token_grid(toy.request().frame_num, toy.request().size);
  std::map<int, std::int64_t> rows;  // tokens of this rank by step
  engine.set_step_listener([&](const sample::StepRequest& step, const sample::Prediction& prediction,
                               const at::Tensor& tokens, const engine::StepTimes&) {
    EXPECT_EQ(prediction.unconditional.defined(), step.guided);
    rows[step.index] = tokens.size(0);
  });
  Recorder recorder;
  test::NoControl control;
  engine.run(toy.request(), {.video = out / "1.mp4", .latents = out / "1"}, recorder, control, {});
  std::int64_t tokens = grid.tokens();
  if (ranks.rank() == 0) {  // the image's aspect decides
    const at::Tensor latent = test::read_outputs({.video = {}, .latents = out / "1"}).latent;
    tokens = latent.size(1) * latent.size(2) * latent.size(3) / 4;
  }
  ranks.world().broadcast(std::as_writable_bytes(std::span(&tokens, 1)), 0).wait();
  const auto divided = [&](int parts) { return (tokens + parts - 1) / parts; };
  for (const auto& [step, own] : rows) {
    const bool is_guided = sample::is_guided(step, toy.settings());
    EXPECT_EQ(own, divided(is_guided ? shape.ulysses : ranks.size())) << step;
  }
  const checkpoint::TransformerConfig model = engine::open_expert(toy.folder.experts.front().path).config;
  // In both directions, for each block: q, k, v and the results, in blocks for the most heads of a rank.
  const auto exchanged = [&](int parts, std::int64_t blocks) {
    const std::int64_t places = (toy.heads + parts - 1) / parts;
    return blocks * 4 * divided(parts) * places * (model.dim / toy.heads) * (parts - 1) * 4;
  };
  // Two passes on the same ranks share the attention of the first block.
  const std::int64_t guided_blocks = shape.cfg == 2 ? model.num_layers : 2 * model.num_layers - 1;
  for (const StepEvent& event : recorder.steps) {
    const bool is_guided = sample::is_guided(event.step, toy.settings());
    const std::int64_t predictions = shape.cfg == 2 ? divided(shape.ulysses) * 64 * 4 : 0;
    EXPECT_EQ(static_cast<std::int64_t>(event.sent_bytes),
              is_guided ? exchanged(shape.ulysses, guided_blocks) + predictions
                        : exchanged(ranks.size(), model.num_layers))
        << "step " << event.step << " of rank " << event.group_rank;
  }
}

/// Stops in each stretch and between them; goes on in the same layout and alone.
TEST_P(Guidance, StatesOfEitherStretchGoOnInAnyLayout) {
  test::RankWorld ranks;
  const Toy toy(GetParam());
  const SharedFolder out(ranks);
  const comm::GridShape shape = test::shapes_of(ranks.size(), toy.heads).back();
  const Stopwatch clock;
  engine::WanEngine engine(toy.folder, {.placement = test::all_sharded},
                           ranks.communicators(shape, Backend::mpi, toy.heads), clock);
  const test::Made whole = test::make(engine, toy.request());
  test::SilentObserver observer;
  const std::array<int, 3> stops{toy.switch_step() - 1, toy.switch_step(), toy.switch_step() + 1};
  for (const int stop : stops) {
    if (stop == 0) continue;
    SCOPED_TRACE(fmt::format("stopped after {}", stop));
    const OutputPaths first{.video = out / "1.mp4", .state = out / "state"};
    test::ScriptedControl control({{stop, StepAction::stop}});
    EXPECT_EQ(engine.run(toy.request(), first, observer, control, {}).end, RunEnd::stopped);
    const OutputPaths second{.video = out / "2.mp4", .latents = out / "2", .resume_from = out / "state"};
    test::NoControl none;
    EXPECT_EQ(engine.run(toy.request(), second, observer, none, {}).first_step, stop);
    if (ranks.rank() != 0) continue;
    expect_same(test::read_outputs(second), whole);
    engine::WanEngine alone(toy.folder, {}, test::lone_communicators(), clock);
    const OutputPaths third{.video = out / "3.mp4", .latents = out / "3", .resume_from = out / "state"};
    EXPECT_EQ(alone.run(toy.request(), third, observer, none, {}).first_step, stop);
    expect_same(test::read_outputs(third), whole);
  }
}

/// Experts in one memory, or one of them on the host: the switch of experts is the switch of divisions, too.
TEST_P(Guidance, ExpertsThatMoveGiveTheSameBits) {
  test::RankWorld ranks;
  const Toy toy(GetParam());
  const comm::GridShape shape = test::shapes_of(ranks.size(), toy.heads).back();
  const Stopwatch clock;
  std::vector<test::Made> made;
  for (const auto residence : {parallel::Residence::resident, parallel::Residence::takes_turns,
                               parallel::Residence::waits_on_host}) {
    parallel::WeightPlacement placement = ranks.size() > 1 ? test::all_sharded : parallel::WeightPlacement();
    placement.transformers.residence = residence;
    engine::WanEngine engine(toy.folder, {.placement = placement},
                             ranks.communicators(shape, Backend::mpi, toy.heads), clock);
    made.push_back(test::make(engine, toy.request()));
    if (placement.transformers.waits_on_host()) made.push_back(test::make(engine, toy.request()));
  }
  if (ranks.rank() != 0) return;
  for (const test::Made& other : made) expect_same(other, made.front());
}

/// Groups of one rank join in the first stretch and in the second.
TEST_P(Guidance, TeamsJoinInEitherStretch) {
  test::RankWorld ranks;
  if (ranks.size() != 2 && ranks.size() != 4) GTEST_SKIP() << "teams of 2 and 4 groups";
  const Toy toy(GetParam());
  Teams teams(ranks, toy, {}, {});
  EXPECT_TRUE(teams.engine().can_team(toy.request(), 2));
  const SharedFolder out(ranks);
  const test::Made alone = ranks.rank() == 0 ? test::make_alone(toy.folder, toy.request()) : test::Made();
  const std::array<int, 3> joins{toy.switch_step() - 1, toy.switch_step(), toy.switch_step() + 1};
  for (const int join : joins) {
    if (join == 0) continue;
    SCOPED_TRACE(fmt::format("joined after {}", join));
    const OutputPaths outputs{.video = out / "v.mp4", .latents = out / "latent"};
    test::ScriptedControl hand_over({{join, StepAction::hand_over}});
    if (ranks.rank() == 0) {
      EXPECT_EQ(teams.run(outputs, hand_over, {}).end, RunEnd::handed_over);
    }
    test::ScriptedControl control({});
    const RequestReport report = teams.run(outputs, control, {.width = ranks.size(), .leader = 0});
    EXPECT_EQ(report.end, RunEnd::finished);
    if (ranks.rank() == 0) expect_same(test::read_outputs(outputs), alone);
  }
}

INSTANTIATE_TEST_SUITE_P(InOneExpert, Guidance, testing::Bool(),
                         [](const auto& which) { return which.param ? "TheFirst" : "TheSecond"; });

}  // namespace
}  // namespace wan
