#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "batch/runner.h"
#include "batch/stop_clock.h"
#include "core/file.h"
#include "store/saved_states.h"
#include "stub_group.h"
#include "support/temp_dir.h"

namespace wan::batch {
namespace {

using nlohmann::json;
using test::context_for;
using test::rows_of;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// Runs that end in mid-item and runs that go on, with an engine whose items have ten steps.
class Resume : public ::testing::Test {
 protected:
  /// The results of a run.
  struct Done {
    GroupCounts counts;
    RunCounts all;
    std::vector<int> first_steps;  ///< of each item made
    std::vector<std::uint64_t> seeds;
  };
  using Change = std::function<void(RunContext&)>;

  Done run(const std::string& name, const Change& change = {}) {
    RunContext context = context_for(out_, name);
    context.requests.command_line.sample_steps = 10;
    if (change) change(context);
    test::StubEngine engine;
    engine.on_step = on_step_;
    test::AloneGroup group;
    test::Recorder recorder;
    TeamLetters teams;
    const auto rows = rows_of(csv_);
    Done done;
    done.counts = run_group(engine, group, rows, context, recorder, teams);
    done.all = finish_run(group, done.counts, rows, context, engine.task()).counts;
    done.first_steps = engine.first_steps;
    for (const Request& request : engine.runs) done.seeds.push_back(request.seed);
    return done;
  }
  /// A run that is told to stop while it makes the step after `steps` steps of the first item.
  Done stop_after(int steps, const std::string& name, const Change& change = {}) {
    bool stop = false;
    on_step_ = [&](const Request&, int step) { stop = stop || step + 1 == steps; };
    const Done done = run(name, [&](RunContext& context) {
      context.stop.is_requested = [&] { return stop; };
      if (change) change(context);
    });
    on_step_ = {};
    return done;
  }
  std::vector<std::string> states() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(out_ / ".state")) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with(".deaths-")) names.push_back(name);
    }
    std::ranges::sort(names);
    return names;
  }
  json read(const std::filesystem::path& name) const {
    return json::parse(read_text_file(out_ / name, 1 << 20));
  }

  wan::test::TempDir dir_;
  std::filesystem::path out_ = dir_ / "out";
  std::string csv_ = "id,prompt\na,cat\nb,dog\n";
  std::function<void(const Request&, int step)> on_step_;
};

TEST_F(Resume, AStoppedItemGoesOnAtTheSameStep) {
  const Done first = stop_after(3, "run-1");
  EXPECT_TRUE(first.counts.stopped);
  EXPECT_EQ(first.all.open, 2);
  EXPECT_EQ(first.all.steps_gained, 3);
  EXPECT_EQ(exit_code(first.all), ExitCode::stopped_early);
  EXPECT_EQ(states().size(), 2U);
  EXPECT_EQ(read(".state/a.json")["steps_done"], 3);

  const Done second = stop_after(7, "run-2");
  EXPECT_THAT(second.first_steps, ElementsAre(3));
  EXPECT_EQ(second.all.steps_gained, 4);
  EXPECT_EQ(states().size(), 2U);

  const Done third = run("run-3");
  EXPECT_THAT(third.first_steps, ElementsAre(7, 0));
  EXPECT_EQ(third.all.made, 2);
  EXPECT_EQ(third.all.steps_gained, 13);
  EXPECT_EQ(read("a.json")["resumed_at_steps"], (json{3, 7}));
  EXPECT_FALSE(read("b.json").contains("resumed_at_steps"));
  EXPECT_EQ(read("run.json")["steps_gained"], 13);
  EXPECT_THAT(states(), IsEmpty());
  EXPECT_TRUE(std::filesystem::is_empty(out_ / ".claims"));
}

TEST_F(Resume, StoppedBeforeDecodingOnlyDecodingIsLeft) {
  EXPECT_EQ(stop_after(10, "run-1").all.steps_gained, 10);
  const Done second = run("run-2");
  EXPECT_THAT(second.first_steps, ElementsAre(10, 0));
  EXPECT_EQ(second.all.steps_gained, 10);
}

TEST_F(Resume, ARunThatDoesNotEvenBeginGainsNothing) {
  const Done done = run("run-1", [](RunContext& c) { c.stop.is_requested = [] { return true; }; });
  EXPECT_EQ(done.all.steps_gained, 0);
  EXPECT_TRUE(done.counts.stopped);
  EXPECT_THAT(states(), IsEmpty());
}

TEST_F(Resume, ACrashLosesNoMoreThanAnInterval) {
  on_step_ = [](const Request&, int step) {
    if (step == 6) throw std::runtime_error("the machine is gone");
  };
  EXPECT_THROW(run("run-1", [](RunContext& c) { c.checkpoint_interval_s = 0; }), std::runtime_error);
  on_step_ = {};
  EXPECT_EQ(states().size(), 2U) << "one record and the file that it names";
  EXPECT_THAT(run("run-2").first_steps, ElementsAre(6, 0));
}

TEST_F(Resume, AnIntervalThatIsNotOverSavesNothing) {
  on_step_ = [](const Request&, int step) {
    if (step == 6) throw std::runtime_error("the machine is gone");
  };
  EXPECT_THROW(run("run-1"), std::runtime_error);
  EXPECT_THAT(states(), IsEmpty());
}

TEST_F(Resume, AStateThatChangedOrAnswersAnotherRequestIsNotUsed) {
  stop_after(3, "run-1");
  for (const std::string& name : states()) {
    if (name.ends_with(".safetensors")) std::ofstream(out_ / ".state" / name) << 4;  // of the same size
  }
  EXPECT_THAT(stop_after(5, "run-2").first_steps, ElementsAre(0));
  csv_ = "id,prompt\na,tiger\nb,dog\n";
  EXPECT_THAT(run("run-3").first_steps, ElementsAre(0, 0));
  EXPECT_THAT(states(), IsEmpty());
}

TEST_F(Resume, DamagedRecordsAreNotUsed) {
  stop_after(3, "run-1");
  const std::string whole = read_text_file(out_ / ".state/a.json", 1 << 20);
  json foreign = json::parse(whole);
  foreign["state"]["file"] = "../../etc/passwd";
  json negative = json::parse(whole);
  negative["steps_done"] = -3;
  for (const std::string& text : {std::string(), whole.substr(0, whole.size() / 2), std::string("[]"),
                                  foreign.dump(), negative.dump(), std::string("{\"steps_done\": 1e99}")}) {
    std::ofstream(out_ / ".state/a.json") << text;
    store::Parameters wanted;
    EXPECT_FALSE(store::SavedStates(out_ / ".state").find("a", wanted, true).has_value()) << text;
  }
  EXPECT_THAT(run("run-2").first_steps, ElementsAre(0, 0));
}

TEST_F(Resume, NoResumeBeginsAnewButKeepsItsOwnStates) {
  const Change no_resume = [](RunContext& c) { c.results.resume = false; };
  stop_after(3, "run-1", no_resume);
  EXPECT_THAT(stop_after(5, "run-2", no_resume).first_steps, ElementsAre(0));
  EXPECT_THAT(run("run-2", no_resume).first_steps, ElementsAre(5, 0));
}

TEST_F(Resume, TheDrawnSeedOfAStateIsKept) {
  const auto seeded = [](std::uint64_t base) {
    return [base](RunContext& c) { c.requests.settings.base_seed = base; };
  };
  stop_after(3, "run-1", seeded(100));
  EXPECT_THAT(run("run-2", seeded(900)).seeds, ElementsAre(100, 901));
}

TEST_F(Resume, AFailureAfterTheStepsIsTriedAgainFromThere) {
  const auto rows = rows_of(csv_);
  stop_after(10, "run-1");
  std::filesystem::create_directory(out_ / "a.mp4");  // in the way of the video
  EXPECT_EQ(run("run-2").all.failed, 1);
  std::filesystem::remove(out_ / "a.mp4");
  EXPECT_THAT(run("run-3", [](RunContext& c) { c.results.retry_failed = true; }).first_steps,
              ElementsAre(10));
  EXPECT_THAT(states(), IsEmpty());
}

TEST_F(Resume, StatesOfDoneItemsAreClearedAway) {
  stop_after(3, "run-1");
  std::filesystem::copy(out_ / ".state", dir_ / "kept");
  run("run-2");
  // As if it had been killed between the sidecar and the state's removal.
  std::filesystem::copy(dir_ / "kept", out_ / ".state");
  EXPECT_EQ(states().size(), 2U);
  run("run-3");
  EXPECT_THAT(states(), IsEmpty());
}

TEST_F(Resume, AnIdThatBeginsLikeAnotherKeepsItsState) {
  csv_ = "id,prompt\na.1,cat\n";
  stop_after(3, "run-1");
  const store::SavedStates store(out_ / ".state");
  store.remove("a");
  EXPECT_EQ(states().size(), 2U);
  store.remove("a.1");
  EXPECT_THAT(states(), IsEmpty());
}

TEST_F(Resume, StopsWithinItsTimeLimit) {
  double now_s = 0;
  on_step_ = [&](const Request&, int) { now_s += 8; };
  // Steps that the clock of the control sees as instantaneous: only what has gone by counts here.
  const Done done = run("run-1", [&](RunContext& c) {
    c.stop.time_limit_s = 60;
    c.stop.elapsed_s = [&] { return now_s; };
  });
  EXPECT_TRUE(done.counts.stopped);
  EXPECT_EQ(done.all.steps_gained, 8) << "64 s are over the limit of 60 s, of which 59.1 - 1.5 s are used";
}

TEST(StopClockTest, LeavesRoomForWhatComesNext) {
  double now_s = 0;
  StopClock stop_clock({.is_signalled = {}, .elapsed_s = [&] { return now_s; }, .time_limit_s = 1000});
  const auto latest = [&](auto&& is_too_late) {
    now_s = 0;
    while (now_s < 1000 && !is_too_late()) now_s += 0.5;
    return now_s;
  };
  const auto step = [&] { return stop_clock.is_too_late_for_step(); };
  const auto ending = [&] { return stop_clock.is_too_late_for_ending(); };
  EXPECT_NEAR(latest(step), 983.5, 1) << "nothing is known of steps yet";
  stop_clock.took_step(20);
  stop_clock.took_step(10);
  EXPECT_NEAR(latest(step), 953.5, 1) << "half as long again as the slowest";
  EXPECT_NEAR(latest(ending), 893.5, 1) << "a guess of three steps";
  stop_clock.took_ending(4);
  EXPECT_NEAR(latest(ending), 977.5, 1);
  stop_clock.took_preparation(30);
  EXPECT_NEAR(latest([&] { return stop_clock.is_too_late_for_item(); }), 908.5, 1);
  stop_clock.begin_item();
  EXPECT_NEAR(latest(step), 983.5, 1);
  EXPECT_LE(latest(step) + 1.5, 990) << "over by 99 % of the limit";
  StopClock with_many_rows({.is_signalled = {}, .elapsed_s = [&] { return now_s; }, .time_limit_s = 1000});
  now_s = 950;
  with_many_rows.took_step(10);
  EXPECT_FALSE(with_many_rows.is_too_late_for_step());
  with_many_rows.expect_closing(16);
  EXPECT_TRUE(with_many_rows.is_too_late_for_step()) << "a last look at the rows takes 16 s";

  StopClock endless(StopClock::Options{});
  endless.took_step(1e9);
  EXPECT_FALSE(endless.is_too_late_for_step());
}

TEST(StopClockTest, LeavesRoomForSavingTheItem) {
  double now_s = 950;
  StopClock stop_clock({.elapsed_s = [&] { return now_s; }, .time_limit_s = 1000});
  stop_clock.took_step(10);
  stop_clock.took_ending(10);
  EXPECT_FALSE(stop_clock.is_too_late_for_step());
  EXPECT_FALSE(stop_clock.is_too_late_for_item());
  stop_clock.took_saving(16);
  stop_clock.took_saving(2);
  EXPECT_TRUE(stop_clock.is_too_late_for_step()) << "the slowest saving counts";
  EXPECT_TRUE(stop_clock.is_too_late_for_item());
  EXPECT_FALSE(stop_clock.is_too_late_for_ending()) << "a finished item is not saved";
}

TEST(StopClockTest, ALongJobKeepsNoMoreThanHalfAMinute) {
  double now_s = 0;
  StopClock stop_clock({.elapsed_s = [&] { return now_s; }, .time_limit_s = 86400});
  stop_clock.took_step(10);
  now_s = 86400 - 50;
  EXPECT_FALSE(stop_clock.is_too_late_for_step());
  now_s = 86400 - 40;
  EXPECT_TRUE(stop_clock.is_too_late_for_step());
}

TEST(StopClockTest, TellsWhoAsked) {
  bool is_signalled = false;
  bool has_file = false;
  StopClock stop_clock(
      {.is_signalled = [&] { return is_signalled; }, .has_stop_file = [&] { return has_file; }});
  EXPECT_FALSE(stop_clock.is_asked());
  stop_clock.ask();
  EXPECT_TRUE(stop_clock.is_asked());
  EXPECT_EQ(stop_clock.asked_by(), StopCause::other_rank);
  has_file = true;
  EXPECT_TRUE(stop_clock.is_asked());
  EXPECT_EQ(stop_clock.asked_by(), StopCause::stop_file);
  is_signalled = true;
  EXPECT_TRUE(stop_clock.is_asked());
  EXPECT_EQ(stop_clock.asked_by(), StopCause::stop_file) << "it goes on stopping runs";
}

}  // namespace
}  // namespace wan::batch
