#include <gtest/gtest.h>

#include <fstream>

#include "core/check.h"
#include "core/file.h"
#include "mpi/engine_teams.h"

namespace wan {
namespace {

using test::Backend;
using test::read_outputs;
using test::ScriptedControl;
using test::SharedFolder;
using test::Teams;
using test::Toy;

constexpr double layout_tolerance = 1e-5;  // compared with one rank of this program

/// Stops a request after `stop` steps, because the last rank asks for it, and continues with another engine.
void stop_and_go_on(test::RankWorld& ranks, const Toy& toy, const comm::GridShape& shape, int stop,
                    const SharedFolder& out) {
  SCOPED_TRACE(fmt::format("{}, stopped after {} steps", parallel::describe(shape), stop));
  test::SilentObserver observer;
  const Stopwatch clock;
  const OutputPaths first{.video = out / "1.mp4", .state = out / "state.safetensors"};
  engine::WanEngine stopped(toy.folder, {.placement = test::all_sharded},
                            ranks.communicators(shape, Backend::mpi, toy.heads), clock);
  const bool is_last = ranks.rank() + 1 == ranks.size();
  ScriptedControl control(is_last ? std::map<int, StepAction>{{stop, StepAction::stop}}
                                  : std::map<int, StepAction>{});
  const RequestReport report = stopped.run(toy.request(), first, observer, control, {});
  EXPECT_EQ(report.end, RunEnd::stopped);
  EXPECT_EQ(report.steps_done, stop);
  if (ranks.rank() == 0) {
    EXPECT_EQ(control.steps_saved, stop);
  }
  engine::WanEngine going_on(toy.folder, {.placement = test::all_sharded},
                             ranks.communicators(shape, Backend::mpi, toy.heads), clock);
  const OutputPaths second{.video = out / "2.mp4", .latents = out / "2", .resume_from = first.state};
  test::NoControl no_control;
  const RequestReport end = going_on.run(toy.request(), second, observer, no_control, {});
  EXPECT_EQ(end.end, RunEnd::finished);
  EXPECT_EQ(end.first_step, stop);
}

class Cases : public testing::TestWithParam<const char*> {};

TEST_P(Cases, StoppedAndGoneOnGivesTheSameBits) {
  test::RankWorld ranks;
  const Toy toy(GetParam());
  const SharedFolder out(ranks);
  for (const comm::GridShape& shape : test::shapes_of(ranks.size(), toy.heads)) {
    const Stopwatch clock;
    engine::WanEngine engine(toy.folder, {.placement = test::all_sharded},
                             ranks.communicators(shape, Backend::mpi, toy.heads), clock);
    const test::Made whole = test::make(engine, toy.request());
    for (const int stop : {1, 2, 4, 5}) {
      stop_and_go_on(ranks, toy, shape, stop, out);
      if (ranks.rank() != 0) continue;
      const test::Made resumed = read_outputs({.video = {}, .latents = out / "2"});
      EXPECT_TRUE(at::equal(resumed.latent, whole.latent)) << parallel::describe(shape) << " " << stop;
      EXPECT_TRUE(at::equal(resumed.frames, whole.frames));
    }
  }
}

TEST_P(Cases, AnotherLayoutGoesOnFromTheState) {
  test::RankWorld ranks;
  const Toy toy(GetParam());
  const SharedFolder out(ranks);
  for (const comm::GridShape& shape : test::shapes_of(ranks.size(), toy.heads)) {
    stop_and_go_on(ranks, toy, shape, 3, out);
    if (ranks.rank() != 0) continue;
    const Stopwatch clock;
    test::SilentObserver observer;
    test::NoControl control;
    engine::WanEngine alone(toy.folder, {}, test::lone_communicators(), clock);
    const OutputPaths outputs{
        .video = out / "3.mp4", .latents = out / "3", .resume_from = out / "state.safetensors"};
    EXPECT_EQ(alone.run(toy.request(), outputs, observer, control, {}).first_step, 3);
    EXPECT_LT(test::relative_error(read_outputs(outputs).latent,
                                   test::make_alone(toy.folder, toy.request()).latent),
              layout_tolerance);
  }
}

TEST_P(Cases, ADraftGoesOnWithTheSameBits) {
  test::RankWorld ranks;
  const Toy toy(GetParam());
  const SharedFolder out(ranks);
  test::SilentObserver observer;
  for (const comm::GridShape& shape : test::shapes_of(ranks.size(), toy.heads)) {
    SCOPED_TRACE(parallel::describe(shape));
    const Stopwatch clock;
    engine::WanEngine engine(toy.folder, {.placement = test::all_sharded},
                             ranks.communicators(shape, Backend::mpi, toy.heads), clock);
    const test::Made whole = test::make(engine, toy.request());
    ScriptedControl control({});
    OutputPaths draft{.video = out / "1.mp4",
                      .latents = out / "1",
                      .state = out / "state",
                      .draft = {.after_step = 3, .frames = 1, .shrink = 2}};
    const RequestReport first = engine.run(toy.request(), draft, observer, control, {});
    EXPECT_EQ(first.end, RunEnd::drafted);
    EXPECT_EQ(first.steps_done, 3);
    EXPECT_EQ(first.frames, 1);
    if (ranks.rank() == 0) {
      EXPECT_EQ(control.steps_saved, 3);
      EXPECT_FALSE(std::filesystem::exists(draft.latents)) << "they are not final";
    }
    // The preview can be made again without a step: the state holds what it shows.
    draft.resume_from = draft.state;
    draft.state = out / "unused";
    const RequestReport again = engine.run(toy.request(), draft, observer, control, {});
    EXPECT_EQ(again.end, RunEnd::drafted);
    EXPECT_EQ(again.steps_done, 3);
    const OutputPaths rest{.video = out / "2.mp4", .latents = out / "2", .resume_from = out / "state"};
    const RequestReport end = engine.run(toy.request(), rest, observer, control, {});
    EXPECT_EQ(end.end, RunEnd::finished);
    EXPECT_EQ(end.first_step, 3);
    if (ranks.rank() != 0) continue;
    const test::Made resumed = read_outputs(rest);
    EXPECT_TRUE(at::equal(resumed.latent, whole.latent));
    EXPECT_TRUE(at::equal(resumed.frames, whole.frames));
  }
}

INSTANTIATE_TEST_SUITE_P(Reference, Cases,
                         testing::Values("i2v_landscape", "i2v_portrait_ragged", "t2v_square", "wan21_i2v",
                                         "ti2v_image"));

/// Checks a file of latents against those of the official code after each step.
void expect_reference_steps(const std::map<std::string, at::Tensor>& made,
                            const test::ParityCase& reference) {
  for (int step = 0; step < reference.request.sample_steps; ++step) {
    SCOPED_TRACE(step);
    const auto found = made.find(fmt::format("step.{}", step));
    ASSERT_NE(found, made.end());
    EXPECT_LT(test::relative_error(found->second, reference.tensor(fmt::format("step.{}.latent", step))),
              1e-4);
  }
  EXPECT_EQ(made.size(), 2U + static_cast<std::size_t>(reference.request.sample_steps))
      << "latent and frames";
}

TEST(StepLatents, AreKeptThroughAStop) {
  test::RankWorld ranks;
  const char* name = ranks.size() == 3 ? "i2v_portrait_ragged" : "i2v_landscape";  // 3 and 4 heads
  const Toy toy(name, test::load_parity_case(name).request.sample_steps);
  const SharedFolder out(ranks);
  const comm::GridShape shape = test::shapes_of(ranks.size(), toy.heads).front();
  test::SilentObserver observer;
  const Stopwatch clock;
  engine::WanEngine engine(toy.folder, {}, ranks.communicators(shape, Backend::mpi, toy.heads), clock);
  OutputPaths outputs{
      .video = out / "1.mp4", .latents = out / "1", .state = out / "state", .step_latents = true};
  ScriptedControl stop({{3, StepAction::stop}});
  EXPECT_EQ(engine.run(toy.request(), outputs, observer, stop, {}).end, RunEnd::stopped);
  outputs.resume_from = outputs.state;
  test::NoControl control;
  EXPECT_EQ(engine.run(toy.request(), outputs, observer, control, {}).first_step, 3);
  if (ranks.rank() == 0) expect_reference_steps(test::load_tensors(outputs.latents), toy.parity);
}

/// A stop may come while the ranks of a team connect. Nobody has saved the steps before that.
TEST(States, AStopBeforeATeamsFirstStepKeepsTheStepsOfTheGroup) {
  test::RankWorld ranks;
  if (ranks.size() != 2) GTEST_SKIP() << "a team of 2 groups";
  const Toy toy("t2v_square");
  Teams teams(ranks, toy, {}, {});
  const SharedFolder out(ranks);
  OutputPaths outputs{.video = out / "v.mp4", .latents = out / "latent", .state = out / "state"};
  ScriptedControl alone({{1, StepAction::save}, {3, StepAction::hand_over}});
  if (ranks.rank() == 0) teams.run(outputs, alone, {});
  ScriptedControl control({{3, StepAction::stop}});
  const RequestReport report = teams.run(outputs, control, {.width = 2, .leader = 0});
  EXPECT_EQ(report.end, RunEnd::stopped);
  if (ranks.rank() != 0) return;
  EXPECT_EQ(control.steps_saved, 3);
  outputs.resume_from = outputs.state;
  test::NoControl no_control;
  EXPECT_EQ(teams.run(outputs, no_control, {}).first_step, 3);
}

TEST(StepLatents, AreHandedOverToATeam) {
  constexpr const char* name = "t2v_square";
  test::RankWorld ranks;
  if (ranks.size() != 2) GTEST_SKIP() << "a team of 2 groups";
  const Toy toy(name, test::load_parity_case(name).request.sample_steps);
  Teams teams(ranks, toy, {}, {});
  const SharedFolder out(ranks);
  const OutputPaths outputs{.video = out / "v.mp4", .latents = out / "latent", .step_latents = true};
  ScriptedControl alone({{2, StepAction::hand_over}});
  if (ranks.rank() == 1) teams.run(outputs, alone, {});
  ScriptedControl control({});
  teams.run(outputs, control, {.width = 2, .leader = 1});
  if (ranks.rank() == 1) expect_reference_steps(test::load_tensors(outputs.latents), toy.parity);
}

/// A state that cannot be used is reported, and the request starts again at step 0.
TEST(States, ThoseOfOtherRequestsAndDamagedOnesAreNotUsed) {
  test::RankWorld ranks;
  const Toy toy("t2v_square");
  const SharedFolder out(ranks);
  if (ranks.rank() != 0) return;
  const Stopwatch clock;
  test::SilentObserver observer;
  engine::WanEngine engine(toy.folder, {}, test::lone_communicators(), clock);
  const OutputPaths first{.video = out / "1.mp4", .state = out / "state"};
  ScriptedControl stop({{2, StepAction::stop}});
  engine.run(toy.request(), first, observer, stop, {});
  const std::string whole = read_text_file(out / "state", 1 << 26);
  Request longer = toy.request();
  longer.sample_steps = 6;
  Request larger = toy.request();
  larger.size = {toy.request().size.width + 16, toy.request().size.height};
  const auto expect_anew = [&](const Request& request, const char* reason) {
    ScriptedControl control({{1, StepAction::stop}});
    const OutputPaths outputs{.video = out / "2.mp4", .resume_from = out / "state"};
    EXPECT_EQ(engine.run(request, outputs, observer, control, {}).first_step, 0) << reason;
    EXPECT_NE(control.problem.find(reason), std::string::npos) << control.problem;
  };
  expect_anew(longer, "belongs to something else");
  expect_anew(larger, "shape");
  for (std::size_t length : {std::size_t{0}, std::size_t{7}, std::size_t{100}, whole.size() - 1}) {
    std::ofstream(out / "state", std::ios::binary) << whole.substr(0, length);
    expect_anew(toy.request(), "begins anew");
  }
  std::filesystem::remove(out / "state");
  expect_anew(toy.request(), "begins anew");
}

TEST(TeamsOfGroups, GrowAroundARunningItemAndGiveTheOneRankResult) {
  test::RankWorld ranks;
  if (ranks.size() == 1) GTEST_SKIP() << "teams of 2, 3 and 4 groups";
  const Toy toy("i2v_landscape");
  Teams teams(ranks, toy, {}, {});
  EXPECT_TRUE(teams.engine().can_team(toy.request(), 2));
  EXPECT_FALSE(teams.engine().can_team(toy.request(), 8));
  const SharedFolder out(ranks);
  constexpr int leader = 1;
  const bool leads = ranks.rank() == leader;
  const OutputPaths outputs{.video = out / "v.mp4", .latents = out / "latent"};
  ScriptedControl alone({{2, StepAction::hand_over}});
  if (leads) {
    EXPECT_EQ(teams.run(outputs, alone, {}).end, RunEnd::handed_over);
  }
  for (const int width : comm::team_widths(ranks.size())) {
    if (ranks.rank() >= width) continue;  // not in it yet
    const bool is_last = width == ranks.size();
    ScriptedControl control(is_last || !leads ? std::map<int, StepAction>{}
                                              : std::map<int, StepAction>{{3, StepAction::hand_over}});
    const RequestReport report = teams.run(outputs, control, {.width = width, .leader = leader});
    EXPECT_EQ(report.end, is_last ? RunEnd::finished : RunEnd::handed_over);
    EXPECT_EQ(report.first_step, width == 2 ? 2 : 3);
  }
  if (!leads) return;
  const test::Made expected = test::make_alone(toy.folder, toy.request());
  const test::Made made = read_outputs(outputs);
  EXPECT_LT(test::relative_error(made.latent, expected.latent), layout_tolerance);
  EXPECT_LT(test::fraction_off_by_more_than_one(made.frames, expected.frames), 1e-3);
}

}  // namespace
}  // namespace wan
