// Experts that take turns in one memory: read when their turn comes, by every rank for itself.
#include <gtest/gtest.h>

#include "mpi/engine_teams.h"

namespace wan {
namespace {

using test::Backend;
using test::SharedFolder;
using test::Toy;

parallel::WeightPlacement in_turns(bool is_sharded) {
  parallel::WeightPlacement placement;
  placement.transformers.residence = parallel::Residence::takes_turns;
  if (is_sharded) placement.transformers.division = parallel::Division::sharded;
  return placement;
}

/// Counts the phases of the requests that an engine makes.
class PhaseCounter {
 public:
  explicit PhaseCounter(engine::WanEngine& engine) {
    engine.set_phase_listener([this](const std::string& phase) { ++counts_[phase]; });
  }
  int count(const std::string& phase) { return std::exchange(counts_[phase], 0); }

 private:
  std::map<std::string, int> counts_;
};

class Turns : public testing::TestWithParam<const char*> {};

/// Every layout and division: one request switches the expert in its middle.
TEST_P(Turns, ARequestReadsEachExpertOnceAndHasTheSameBits) {
  test::RankWorld ranks;
  const Toy toy(GetParam());
  for (const comm::GridShape& shape : test::shapes_of(ranks.size(), toy.heads)) {
    for (const bool is_sharded : {false, true}) {
      SCOPED_TRACE(fmt::format("{}, sharded {}", parallel::describe(shape), is_sharded));
      const Stopwatch clock;
      const auto group = [&] { return ranks.communicators(shape, Backend::mpi, toy.heads); };
      engine::WanEngine plain(toy.folder,
                              {.placement = is_sharded ? test::all_sharded : parallel::WeightPlacement()},
                              group(), clock);
      const test::Made whole = test::make(plain, toy.request());
      engine::WanEngine turning(toy.folder, {.placement = in_turns(is_sharded)}, group(), clock);
      PhaseCounter phases(turning);
      const test::Made made = test::make(turning, toy.request());
      EXPECT_EQ(phases.count("load"), 2);
      const test::Made again = test::make(turning, toy.request());
      EXPECT_EQ(phases.count("load"), 2) << "the first expert has to come back";
      if (ranks.rank() != 0) continue;
      for (const test::Made& other : {made, again}) {
        EXPECT_TRUE(at::equal(other.latent, whole.latent));
        EXPECT_TRUE(at::equal(other.frames, whole.frames));
      }
    }
  }
}

/// Several requests go through the first expert before the second is read.
TEST_P(Turns, RequestsThatWaitReadEachExpertOnce) {
  test::RankWorld ranks;
  const Toy toy(GetParam());
  const SharedFolder out(ranks);
  const comm::GridShape shape = test::shapes_of(ranks.size(), toy.heads).back();
  const Stopwatch clock;
  engine::WanEngine engine(toy.folder, {.placement = in_turns(ranks.size() > 1)},
                           ranks.communicators(shape, Backend::mpi, toy.heads), clock);
  PhaseCounter phases(engine);
  test::SilentObserver observer;
  std::vector<Request> requests(3, toy.request());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].id = fmt::format("item{}", i);
    requests[i].seed += i;
    test::ScriptedControl control({});
    const OutputPaths paths{.video = out / "unused", .state = out / "state", .first_expert_only = true};
    const RequestReport report = engine.run(requests[i], paths, observer, control, {});
    EXPECT_EQ(report.end, RunEnd::waits);
    EXPECT_GT(report.steps_done, 0);
    EXPECT_LT(report.steps_done, toy.request().sample_steps);
    EXPECT_FALSE(std::filesystem::exists(out / "unused"));
    if (ranks.rank() == 0) {
      EXPECT_EQ(control.steps_saved, report.steps_done);
    }
  }
  EXPECT_EQ(phases.count("load"), 1);
  EXPECT_EQ(phases.count("text"), 3);
  EXPECT_EQ(phases.count("encode"), toy.request().image.empty() ? 0 : 3);
  std::vector<test::Made> made;
  for (const Request& request : requests) {
    test::NoControl control;
    const OutputPaths paths{.video = out / "1.mp4", .latents = out / "1"};
    const RequestReport report = engine.run(request, paths, observer, control, {});
    EXPECT_EQ(report.end, RunEnd::finished);
    EXPECT_GT(report.first_step, 0);
    if (ranks.rank() == 0) made.push_back(test::read_outputs(paths));
  }
  EXPECT_EQ(phases.count("load"), 1);
  EXPECT_EQ(phases.count("text"), 0) << "texts and images are encoded once";
  EXPECT_EQ(phases.count("encode"), 0);
  engine::WanEngine plain(toy.folder,
                          {.placement = ranks.size() > 1 ? test::all_sharded : parallel::WeightPlacement()},
                          ranks.communicators(shape, Backend::mpi, toy.heads), clock);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const test::Made whole = test::make(plain, requests[i]);
    if (ranks.rank() != 0) continue;
    EXPECT_TRUE(at::equal(made[i].latent, whole.latent)) << i;
    EXPECT_TRUE(at::equal(made[i].frames, whole.frames)) << i;
  }
}

/// A later run, whose engine knows nothing of it, goes on from the saved state. It leaves at once while it is
/// the first expert's turn.
TEST_P(Turns, ASavedStatePastTheSwitchWaitsWithoutReading) {
  test::RankWorld ranks;
  const Toy toy(GetParam());
  const SharedFolder out(ranks);
  const comm::GridShape shape = test::shapes_of(ranks.size(), toy.heads).back();
  const Stopwatch clock;
  test::SilentObserver observer;
  const auto engine = [&] {
    return engine::WanEngine(toy.folder, {.placement = in_turns(false)},
                             ranks.communicators(shape, Backend::mpi, toy.heads), clock);
  };
  engine::WanEngine first = engine();
  test::ScriptedControl control({});
  OutputPaths paths{
      .video = out / "1.mp4", .latents = out / "1", .state = out / "state", .first_expert_only = true};
  const RequestReport waits = first.run(toy.request(), paths, observer, control, {});
  EXPECT_EQ(waits.end, RunEnd::waits);
  engine::WanEngine second = engine();
  PhaseCounter phases(second);
  paths.resume_from = out / "state";
  paths.state = out / "another";
  const RequestReport again = second.run(toy.request(), paths, observer, control, {});
  EXPECT_EQ(again.end, RunEnd::waits);
  EXPECT_EQ(again.first_step, waits.steps_done);
  EXPECT_EQ(again.steps_done, waits.steps_done);
  EXPECT_FALSE(std::filesystem::exists(out / "another")) << "no step was made";
  EXPECT_EQ(phases.count("load"), 0);
  paths.first_expert_only = false;
  EXPECT_EQ(second.run(toy.request(), paths, observer, control, {}).end, RunEnd::finished);
  EXPECT_EQ(phases.count("load"), 1);
}

INSTANTIATE_TEST_SUITE_P(Reference, Turns, testing::Values("i2v_landscape", "t2v_square"));

}  // namespace
}  // namespace wan
