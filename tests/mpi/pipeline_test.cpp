// Pipelines of stub stages for kinds of models that the program does not have yet: a loop over clips, in
// which a clip needs the one before it, and one expert whose tokens have different timesteps. They run, stop,
// continue and are handed over to a team like the existing ones.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <fstream>

#include "comm/local.h"
#include "core/check.h"
#include "core/file.h"
#include "engine/group_teams.h"
#include "engine/request_run.h"
#include "mpi/engine_teams.h"
#include "parallel/tensor_bytes.h"

namespace wan {
namespace {

using engine::DenoiseState;
using engine::Pipeline;
using engine::RequestRun;
using engine::Stage;
using engine::Stages;
using test::ScriptedControl;
using Names = std::vector<std::string_view>;

constexpr std::array<std::int64_t, 4> latent_shape{2, 3, 4, 4};  // [channels, frames, height, width]
constexpr int steps = 3;
constexpr int clips = 3;

/// A stage that is a function.
class StubStage final : public Stage {
 public:
  StubStage(std::string_view phase, Names takes, Names makes, std::function<void(RequestRun&)> work)
      : phase_(phase), takes_(std::move(takes)), makes_(std::move(makes)), work_(std::move(work)) {}
  std::string_view phase() const override { return phase_; }
  Names takes() const override { return takes_; }
  Names makes() const override { return makes_; }
  void run(RequestRun& run) override { work_(run); }

 private:
  std::string_view phase_;
  Names takes_;
  Names makes_;
  std::function<void(RequestRun&)> work_;
};

void add(Stages& stages, std::string_view phase, Names takes, Names makes,
         std::function<void(RequestRun&)> work) {
  stages.push_back(std::make_unique<StubStage>(phase, std::move(takes), std::move(makes), std::move(work)));
}

at::Tensor drawn(std::uint64_t seed) {
  return at::randn(latent_shape, at::detail::createCPUGenerator(seed), at::kFloat);
}

/// Gathers own rows of a latent [channels, frames, height, width] on every rank.
at::Tensor gather_rows(const at::Tensor& own, comm::Communicator& group) {
  constexpr std::int64_t row_axis = 2;
  const at::Tensor front = own.movedim(row_axis, 0).contiguous();  // [rows, channels, frames, width]
  std::vector<std::int64_t> shape = front.sizes().vec();
  shape[0] *= group.size();
  at::Tensor all = at::empty(shape, front.options());
  group.all_gather(parallel::bytes_of(front), parallel::writable_bytes_of(all)).wait();
  return all.movedim(0, row_axis).contiguous();
}

at::Tensor own_rows(const at::Tensor& whole, const comm::Communicator& group) {
  const std::int64_t rows = whole.size(2) / group.size();
  return whole.narrow(2, group.rank() * rows, rows).clone();
}

/// Each rank moves its rows by `update`, step by step.
void stub_denoise(RequestRun& run, const std::function<at::Tensor(const at::Tensor& own, int step)>& update) {
  comm::Communicator& group = run.meeting().group();
  at::Tensor own = own_rows(run.state().latent, group);
  run.begin_steps({});
  for (int step = run.state().steps_done;; ++step) {
    const bool goes_on = run.pass(step, [&] {
      return DenoiseState{.steps_done = step, .latent = gather_rows(own, group), .history = {}};
    });
    if (!goes_on) return;
    if (step == steps) break;
    own = update(own, step);
    sample::StepRequest told;
    told.index = step;
    run.reporter().end_step(told, {});
  }
  run.values().put("latent", gather_rows(own, group));
}

void restore_or_draw(RequestRun& run, std::uint64_t seed) {
  if (!run.state().latent.defined()) run.state().latent = drawn(seed);
}

void write_frames(RequestRun& run) {
  if (!run.meeting().leads()) return;
  std::ofstream file(run.setup().outputs.video, std::ios::binary);
  for (const at::Tensor& frames : run.values().on_leader("frames")) {
    file.write(static_cast<const char*>(frames.data_ptr()), static_cast<std::streamsize>(frames.nbytes()));
  }
}

void decode(RequestRun& run) {
  const at::Tensor latent = run.values().get("latent");
  if (run.meeting().leads())
    run.values().on_leader("frames").push_back(latent.view(at::kByte).clone());  // every bit of it
}

/// A loop as in S2V and Animate: a clip begins with the end of the one before it, until the audio ends.
Pipeline clip_pipeline() {
  Stages stages;
  add(stages, "audio", {}, {"audio"}, [](RequestRun& run) { run.values().put("audio", at::arange(clips)); });
  add(stages, "", {}, {}, [](RequestRun& run) { run.restore(latent_shape); });
  add(stages, "motion", {"audio", "tail"}, {"motion"}, [](RequestRun& run) {
    const at::Tensor tail = run.values().get("tail");
    const at::Tensor own = run.values().get("audio")[run.clip()].to(at::kFloat);
    run.values().put("motion", tail.defined() ? tail + own : own);
  });
  add(stages, "", {}, {}, [](RequestRun& run) { restore_or_draw(run, 100 + run.clip()); });
  add(stages, "denoise", {"motion"}, {"latent"}, [](RequestRun& run) {
    const at::Tensor motion = run.values().get("motion");
    stub_denoise(run,
                 [&](const at::Tensor& own, int step) { return own * 0.75 + motion.mean() / (step + 1); });
  });
  add(stages, "decode", {"latent"}, {"frames", "tail"}, [](RequestRun& run) {
    decode(run);
    run.values().put("tail", run.values().get("latent").select(1, -1).clone());  // the last latent frame
  });
  add(stages, "write", {"frames"}, {}, write_frames);
  return Pipeline(std::move(stages),
                  engine::ClipLoop{.first = 2,
                                   .end = 6,
                                   .clips = [](const RequestRun& /*run*/) { return clips; },
                                   .carried = {"tail", "frames"}});
}

/// Timesteps as in TI2V-5B: the first latent frame is the image's. Its tokens always have timestep 0, the
/// others that of the step.
Pipeline token_timestep_pipeline() {
  Stages stages;
  add(stages, "encode", {}, {"first_frame"}, [](RequestRun& run) {
    run.values().put("first_frame", drawn(7).select(1, 0).clone());  // [channels, height, width]
  });
  add(stages, "", {}, {}, [](RequestRun& run) {
    run.restore(latent_shape);
    restore_or_draw(run, 100);
  });
  add(stages, "denoise", {"first_frame"}, {"latent"}, [](RequestRun& run) {
    const at::Tensor whole_first =
        run.values().get("first_frame").unsqueeze(1);  // [channels, 1, height, width]
    const at::Tensor first =
        own_rows(whole_first.expand({-1, latent_shape[1], -1, -1}), run.meeting().group());
    at::Tensor timesteps = at::ones({1, latent_shape[1], 1, 1});
    timesteps.select(1, 0).fill_(0);  // one for each token, here for each frame
    stub_denoise(run, [&](const at::Tensor& own, int step) {
      const at::Tensor moved = own - own.sin() * timesteps / (step + 2);
      return at::where(timesteps == 0, first, moved);
    });
  });
  add(stages, "decode", {"latent"}, {"frames"}, decode);
  add(stages, "write", {"frames"}, {}, write_frames);
  return Pipeline(std::move(stages));
}

/// A minimal engine. The batch sees no difference to WanEngine.
class StubEngine final : public Engine {
 public:
  StubEngine(Pipeline pipeline, parallel::GroupCommunicators group)
      : pipeline_(std::move(pipeline)), groups_(std::move(group)) {}

  const Task& task() const override { return task_; }
  void validate(const Request& /*request*/) const override {}
  bool can_team(const Request& /*request*/, int width) const override { return groups_.allows(width); }
  RequestReport run(const Request& request, const OutputPaths& outputs, Observer& observer,
                    RunControl& control, const Team& team) override {
    RequestRun run({.request = request,
                    .outputs = outputs,
                    .observer = observer,
                    .control = control,
                    .team = groups_.team(team.width),
                    .leader_rank = team.leader * groups_.own().group->size(),
                    .pipeline = pipeline_,
                    .geometry = model::wan21_geometry,
                    .identity = "a stub",
                    .clock = clock_,
                    .monitor = nullptr,
                    .gpu = nullptr,
                    .release = [] {},
                    .on_note = {},
                    .on_phase = {}});
    RequestReport report = team.width > 1 ? run.join(std::move(handed_over_)) : run.execute();
    handed_over_ = run.handed_over();
    return report;
  }
  void allow_teams(engine::TeamFactory make_team, int width) { groups_.allow(std::move(make_team), width); }

 private:
  Task task_;
  Stopwatch clock_;
  Pipeline pipeline_;
  engine::GroupTeams groups_;
  std::unique_ptr<engine::HandOver> handed_over_;
};

Request stub_request() {
  Request request;
  request.id = "stub";
  request.sample_steps = steps;
  request.size = {32, 32};
  return request;
}

/// A video of a pipeline on one rank, as bytes.
std::string made_alone(Pipeline pipeline) {
  const test::TempDir folder;
  test::SilentObserver observer;
  test::NoControl control;
  StubEngine engine(std::move(pipeline), test::lone_communicators());
  engine.run(stub_request(), {.video = folder / "video"}, observer, control, {});
  return read_text_file(folder / "video", 1 << 20);
}

using MakePipeline = Pipeline (*)();

class Pipelines : public testing::TestWithParam<std::pair<MakePipeline, int>> {
 protected:
  static Pipeline pipeline() { return GetParam().first(); }
  static int all_steps() { return GetParam().second; }
};

TEST_P(Pipelines, GiveTheSameBitsOnAnyNumberOfRanks) {
  test::RankWorld ranks;
  const test::SharedFolder out(ranks);
  test::SilentObserver observer;
  test::NoControl control;
  StubEngine engine(pipeline(), ranks.communicators({.group_size = ranks.size(), .ulysses = ranks.size()},
                                                    test::Backend::mpi, ranks.size()));
  const RequestReport report = engine.run(stub_request(), {.video = out / "video"}, observer, control, {});
  EXPECT_EQ(report.end, RunEnd::finished);
  EXPECT_EQ(report.steps_done, all_steps());
  if (ranks.rank() == 0) {
    EXPECT_EQ(read_text_file(out / "video", 1 << 20), made_alone(pipeline()));
  }
}

TEST_P(Pipelines, StoppedAfterAnyStepTheyGoOn) {
  test::RankWorld ranks;
  const test::SharedFolder out(ranks);
  const std::string whole = made_alone(pipeline());
  for (int stop = 1; stop <= all_steps(); ++stop) {
    SCOPED_TRACE(stop);
    const auto group = [&] {
      return ranks.communicators({.group_size = ranks.size(), .ulysses = ranks.size()}, test::Backend::mpi,
                                 ranks.size());
    };
    test::SilentObserver observer;
    ScriptedControl control({{stop, StepAction::stop}});
    StubEngine engine(pipeline(), group());
    const OutputPaths first{.video = out / "1", .state = out / "state.safetensors"};
    const RequestReport stopped = engine.run(stub_request(), first, observer, control, {});
    EXPECT_EQ(stopped.end, RunEnd::stopped);
    EXPECT_EQ(stopped.steps_done, stop);
    test::NoControl no_control;
    StubEngine next(pipeline(), group());
    const OutputPaths second{.video = out / "2", .resume_from = first.state};
    const RequestReport end = next.run(stub_request(), second, observer, no_control, {});
    EXPECT_EQ(end.end, RunEnd::finished);
    EXPECT_EQ(end.first_step, stop);
    if (ranks.rank() == 0) {
      EXPECT_EQ(read_text_file(out / "2", 1 << 20), whole);
    }
  }
}

/// Groups of one rank. The first begins, and all together go on.
TEST_P(Pipelines, HandedOverAfterAnyStepATeamGoesOn) {
  test::RankWorld ranks;
  if (ranks.size() == 1) GTEST_SKIP() << "a team has two groups or more";
  const test::SharedFolder out(ranks);
  const std::string whole = made_alone(pipeline());
  const Request request = stub_request();
  const OutputPaths outputs{.video = out / "video"};
  test::SilentObserver observer;
  for (int last = 1; last <= all_steps(); ++last) {
    SCOPED_TRACE(last);
    StubEngine engine(pipeline(), test::lone_communicators());
    engine.allow_teams(
        [&](int width) {
          return ranks.communicators({.group_size = width, .ulysses = width}, test::Backend::mpi, width);
        },
        ranks.size());
    if (ranks.rank() == 0) {
      ScriptedControl control({{last, StepAction::hand_over}});
      const RequestReport begun = engine.run(request, outputs, observer, control, {});
      EXPECT_EQ(begun.end, RunEnd::handed_over);
      EXPECT_EQ(begun.steps_done, last);
    }
    test::NoControl control;
    const RequestReport end = engine.run(request, outputs, observer, control, {.width = ranks.size()});
    EXPECT_EQ(end.end, RunEnd::finished);
    EXPECT_EQ(end.first_step, last);
    if (ranks.rank() == 0) {
      EXPECT_EQ(read_text_file(out / "video", 1 << 20), whole);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, Pipelines,
                         testing::Values(std::pair<MakePipeline, int>(clip_pipeline, clips* steps),
                                         std::pair<MakePipeline, int>(token_timestep_pipeline, steps)));

TEST(PipelineCheck, AStageThatTakesWhatNobodyMakesIsRefused) {
  Stages stages;
  add(stages, "decode", {"latent"}, {"frames"}, [](RequestRun& /*run*/) {});
  EXPECT_THROW(Pipeline(std::move(stages)), Error);
}

TEST(PipelineCheck, ALoopMustLieInsideTheStages) {
  Stages stages;
  add(stages, "denoise", {}, {"latent"}, [](RequestRun& /*run*/) {});
  EXPECT_THROW(
      Pipeline(
          std::move(stages),
          engine::ClipLoop{
              .first = 0, .end = 2, .clips = [](const RequestRun& /*run*/) { return 1; }, .carried = {}}),
      Error);
}

}  // namespace
}  // namespace wan
