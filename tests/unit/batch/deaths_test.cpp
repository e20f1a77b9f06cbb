// Rows with which the program ends, and storage that nothing can be written to: neither ends everybody's
// night.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "batch/item_deaths.h"
#include "runner_fixture.h"
#include "store/job_starts.h"
#include "wan/storage_error.h"

namespace wan::batch {
namespace {

using test::rows_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Deaths : public test::Runner {
 protected:
  /// A run in a process of its own, in which on_step_ ends the process.
  void run_and_die(const std::vector<manifest::ManifestRow>& rows, const std::string& name,
                   const std::function<void(RunContext&)>& change = {}) {
    const pid_t child = ::fork();
    if (child == 0) {
      run(rows, name, change);
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status)) << name << " ended by itself";
  }
  bool is_made(const std::string& id) const { return std::filesystem::exists(out_ / (id + ".mp4")); }
  bool is_noted(const std::string& id) const {
    return std::filesystem::exists(out_ / ".state" / (".deaths-" + id + ".json"));
  }
  void kill_at(const std::string& prompt, int wanted_step) {
    on_step_ = [=](const Request& request, int step) {
      if (request.prompt == prompt && step == wanted_step) ::raise(SIGKILL);
    };
  }

  std::vector<manifest::ManifestRow> rows_ = rows_of("id,prompt\na,killer\nb,b\nc,c\n");
};

TEST_F(Deaths, ARowThatEndsTheProgramComesLastAfterTwoDeathsAndHasFailedAfterThree) {
  kill_at("killer", 0);
  for (const char* name : {"run-1", "run-2"}) {
    run_and_die(rows_, name);
    EXPECT_FALSE(is_made("b")) << name;
  }
  run_and_die(rows_, "run-3");
  EXPECT_TRUE(is_made("b") && is_made("c"));

  EXPECT_THAT(run(rows_, "run-4"), IsEmpty());
  EXPECT_EQ(counts_.failed, 1);
  EXPECT_EQ(exit_code(result_.counts), ExitCode::some_failed);
  EXPECT_EQ(read("a.failed.json")["stage"], "crash");
  EXPECT_THAT(read("a.failed.json")["message"].get<std::string>(), HasSubstr("ended 3 times"));
  EXPECT_FALSE(is_noted("a"));
  EXPECT_THAT(run(rows_, "run-5"), IsEmpty());

  on_step_ = {};
  EXPECT_THAT(run(rows_, "run-6", [](RunContext& context) { context.results.retry_failed = true; }),
              ElementsAre("killer"));
  EXPECT_EQ(counts_.made, 1);
}

TEST_F(Deaths, RetryFailedAndOtherValuesBeginAnew) {
  kill_at("killer", 0);
  for (int i = 0; i < 3; ++i) run_and_die(rows_, fmt::format("run-{}", i));
  on_step_ = {};
  EXPECT_THAT(run(rows_, "again", [](RunContext& context) { context.results.retry_failed = true; }),
              ElementsAre("killer"));
  kill_at("another killer", 0);
  const auto changed = rows_of("id,prompt\na,another killer\nb,b\n");
  for (int i = 0; i < 2; ++i) run_and_die(changed, fmt::format("changed-{}", i));
  EXPECT_TRUE(is_noted("a"));
  EXPECT_THAT(run(rows_of("id,prompt\na,harmless\nb,b\n"), "harmless"), ElementsAre("harmless"));
  EXPECT_FALSE(is_noted("a"));
}

TEST_F(Deaths, AnAttemptThatSavedAStepDoesNotCount) {
  const auto saves = [](RunContext& context) { context.checkpoint_interval_s = 0; };
  for (int step = 2; step < 6; ++step) {
    kill_at("killer", step);
    run_and_die(rows_, fmt::format("run-{}", step), saves);
  }
  on_step_ = {};
  EXPECT_THAT(run(rows_, "last", saves), ElementsAre("killer", "b", "c"));
  EXPECT_THAT(first_steps_.front(), 5);
}

TEST_F(Deaths, WhoWasToldToStopDidNotDieOfItsRow) {
  const auto told = [](RunContext& context) { context.stop.is_pending = [] { return true; }; };
  const auto is_noted = [this] {
    for (const auto& entry : std::filesystem::directory_iterator(out_ / ".claims")) {
      if (!entry.path().filename().string().starts_with(".owner-")) continue;
      if (read_text_file(entry.path(), 1 << 20).find("told_to_stop") != std::string::npos) return true;
    }
    return false;
  };
  on_step_ = [&](const Request&, int) {
    while (!is_noted()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ::raise(SIGKILL);
  };
  for (int i = 0; i < 4; ++i) run_and_die(rows_, fmt::format("run-{}", i), told);
  on_step_ = {};
  EXPECT_THAT(run(rows_, "last"), ElementsAre("killer", "b", "c"));
}

TEST_F(Deaths, AnErrorThatEndsTheRunCountsLikeADeath) {
  on_step_ = [](const Request& request, int) {
    if (request.prompt == "killer") throw std::runtime_error("the library gave up");
  };
  for (int i = 0; i < 3; ++i) EXPECT_THROW(run(rows_, fmt::format("run-{}", i)), std::runtime_error);
  EXPECT_TRUE(is_made("b") && is_made("c"));
  run(rows_, "last");
  EXPECT_EQ(read("a.failed.json")["stage"], "crash");
  EXPECT_THAT(read("a.failed.json")["message"].get<std::string>(), HasSubstr("the library gave up"));
}

TEST_F(Deaths, AnotherGroupLeavesSuchRowsToTheFirst) {
  kill_at("killer", 0);
  for (int i = 0; i < 2; ++i) run_and_die(rows_, fmt::format("run-{}", i));
  const auto made = run(rows_, "second group", [](RunContext& context) {
    context.place.group_index = 1;
    context.place.group_count = 2;
  });
  EXPECT_THAT(made, ElementsAre("b", "c"));
}

TEST_F(Deaths, TheLossOfANodeDoesNotCount) {
  RunContext context = test::context_for(out_);
  context.job.id = "12";
  store::Parameters wanted;
  wanted.request.id = "a";
  const store::DeadOwner here{.token = std::string(32, 'a'),
                              .who = "node1, process 7",
                              .host = "node1",
                              .job = "12",
                              .run = "a run",
                              .machine_is_up = true,
                              .was_at_work = true};
  EXPECT_TRUE(counts_as_death(here, wanted, context));
  context.job.earlier_runs = {"start 1"};
  store::DeadOwner preempted = here;
  preempted.run = "start 1";
  EXPECT_FALSE(counts_as_death(preempted, wanted, context)) << "Slurm has started the job again";
  store::DeadOwner elsewhere = here;
  elsewhere.machine_is_up = false;
  EXPECT_FALSE(counts_as_death(elsewhere, wanted, context)) << "the same job, started again on another node";
  elsewhere.job = "11";
  EXPECT_TRUE(counts_as_death(elsewhere, wanted, context)) << "a job that ended, on a node that may be up";
  elsewhere.host = context.origin.host;
  EXPECT_FALSE(counts_as_death(elsewhere, wanted, context)) << "this node was started anew since";
  store::DeadOwner idle = here;
  idle.was_at_work = false;
  EXPECT_FALSE(counts_as_death(idle, wanted, context));
}

// Slurm starts a job again after a preemption; its script does so after a signal has killed a rank, and notes
// that.
class EarlierStarts : public Deaths {
 protected:
  /// Three starts of a job. Each dies in the first row, at step `step` or, if it saves, one step later than
  /// the one before.
  void die_three_times(bool by_a_signal, int step, bool saves) {
    interval_s_ = saves ? 0 : 300;
    for (const char* name : {"start 1", "start 2", "start 3"}) {
      kill_at("killer", step);
      run_and_die(rows_, name, as_next_start(by_a_signal));
      starts_.emplace_back(name);
      if (saves) ++step;
    }
  }
  std::function<void(RunContext&)> as_next_start(bool by_a_signal) {
    return [this, by_a_signal](RunContext& context) {
      context.checkpoint_interval_s = interval_s_;
      context.job.id = "12";
      context.job.earlier_runs = starts_;
      if (by_a_signal) context.job.crashed_runs = starts_;
    };
  }

  std::vector<std::string> starts_;
  double interval_s_ = 0;
};

TEST_F(EarlierStarts, ThatASignalEndedCountAsDeathsOfTheRow) {
  die_three_times(true, 0, false);
  EXPECT_TRUE(is_made("b") && is_made("c")) << "after two deaths the row comes last";
  EXPECT_THAT(run(rows_, "start 4", as_next_start(true)), IsEmpty());
  EXPECT_EQ(read("a.failed.json")["stage"], "crash");
}

TEST_F(EarlierStarts, ThatSlurmEndedDoNotCount) {
  die_three_times(false, 0, false);
  EXPECT_FALSE(is_noted("a") || is_made("b"));
  on_step_ = {};
  EXPECT_THAT(run(rows_, "start 4", as_next_start(false)), ElementsAre("killer", "b", "c"));
}

TEST_F(EarlierStarts, ThatASignalEndedDoNotCountIfTheySavedAStep) {
  die_three_times(true, 2, true);
  EXPECT_FALSE(is_noted("a") || is_made("b"));
  on_step_ = {};
  EXPECT_THAT(run(rows_, "start 4", as_next_start(true)), ElementsAre("killer", "b", "c"));
}

TEST_F(Deaths, HostMemoryThatTheEngineIsRefusedBeforeItBeginsFailsTheRow) {
  on_validate_ = [](const Request& request) {
    if (request.prompt == "killer") throw std::bad_alloc();
  };
  EXPECT_THAT(run(rows_, "run-1"), ElementsAre("b", "c"));
  EXPECT_EQ(counts_.failed, 1);
  EXPECT_THAT(read("a.failed.json")["message"].get<std::string>(), HasSubstr("memory"));
}

TEST_F(Deaths, StorageThatFailsEndsTheRunInOrderAndLeavesItemsOpen) {
  on_step_ = [](const Request& request, int) {
    if (request.prompt == "b") throw StorageError("cannot write b.mp4: No space left on device");
  };
  EXPECT_THAT(run(rows_, "run-1"), ElementsAre("killer", "b"));
  EXPECT_EQ(counts_.failed, 0);
  EXPECT_EQ(result_.counts.open, 2);
  EXPECT_EQ(exit_code(result_.counts), ExitCode::failure);
  EXPECT_EQ(read("run.json")["exit_code"], 1);
  EXPECT_THAT(read("run.json")["exit_reason"].get<std::string>(), HasSubstr("No space left on device"));
  EXPECT_FALSE(std::filesystem::exists(out_ / "b.failed.json"));
  on_step_ = {};
  EXPECT_THAT(run(rows_, "run-2"), ElementsAre("b", "c"));
}

TEST_F(Deaths, ATraceThatCannotBeWrittenEndsTheRunAtTheNextStep) {
  on_step_ = [this](const Request& request, int step) {
    if (request.prompt == "b" && step == 3)
      storage_problem_ = "cannot write the trace: No space left on device";
  };
  run(rows_, "run-1");
  EXPECT_EQ(exit_code(result_.counts), ExitCode::failure);
  EXPECT_EQ(result_.counts.open, 2);
  storage_problem_.clear();
  on_step_ = {};
  EXPECT_THAT(run(rows_, "run-2"), ElementsAre("b", "c"));
  EXPECT_THAT(first_steps_, ElementsAre(4, 0)) << "b goes on from its saved state";
}

TEST_F(Deaths, NoResumeCountsForTheFirstStartOfAJob) {
  run(rows_, "before");
  const store::OutputFolder folder(out_);
  bool is_restart = false;
  const auto start = [&](RunContext& context) {
    context.results.resume = false;
    context.results.retry_failed = true;
    context.job.earlier_runs = store::note_start(folder, "4711", context.origin.run, is_restart);
    context.stop.is_requested = [this] { return stops_ && runs_seen_ > 0; };
  };
  on_run_ = [this](const Request&, const OutputPaths&) { ++runs_seen_; };
  on_step_ = [this](const Request& request, int) { stops_ = request.prompt == "b"; };
  EXPECT_THAT(run(rows_, "first", start), ElementsAre("killer", "b"));
  EXPECT_EQ(exit_code(result_.counts), ExitCode::stopped_early);
  is_restart = true;
  stops_ = false;
  on_step_ = {};
  EXPECT_THAT(run(rows_, "second", start), ElementsAre("b", "c"));
  EXPECT_EQ(exit_code(result_.counts), ExitCode::done);
  store::forget_starts(folder, "4711");
  EXPECT_THAT(store::note_start(folder, "4711", "third", true), IsEmpty());
}

}  // namespace
}  // namespace wan::batch
