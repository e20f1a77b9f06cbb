// Items that are written while their group makes the next ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <map>
#include <thread>

#include "core/checksum.h"
#include "core/file.h"
#include "runner_fixture.h"
#include "store/batch_status.h"
#include "wan/storage_error.h"

namespace wan::batch {
namespace {

using std::chrono::milliseconds;
using test::files_in;
using test::message_of;
using test::rows_of;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

using GivenUp = std::function<bool()>;

constexpr int steps = 4;
constexpr milliseconds nap{1};
constexpr milliseconds a_moment{30};

std::string many_rows(int count) {
  std::string csv = "id,prompt\n";
  for (int row = 0; row < count; ++row) csv += fmt::format("item{0},prompt {0}\n", row);
  return csv;
}

class Writers : public test::Runner {
 protected:
  Writers() {
    on_step_ = [this](const Request& request, int /*step*/) { ++steps_made_[request.id]; };
  }
  /// A run with `writers` threads, as the other run() functions.
  std::vector<std::string> run_with(int writers, const std::string& name = "run-1",
                                    const std::function<void(RunContext&)>& change = {}) {
    return run(rows_, name, [&](RunContext& context) {
      context.requests.command_line.sample_steps = steps;
      context.requests.settings.base_seed = 1;
      context.results.save_latents = true;
      context.writers = writers;
      if (change) change(context);
    });
  }
  /// Lets writing last until `condition` is true or the writing is given up.
  static bool until(const std::function<bool()>& condition, const GivenUp& is_given_up) {
    while (!condition()) {
      if (is_given_up()) return false;
      std::this_thread::sleep_for(nap);
    }
    return true;
  }
  bool is_done(const std::string& id) const { return std::filesystem::exists(out_ / (id + ".json")); }
  std::map<std::string, std::string> contents() const {
    std::map<std::string, std::string> sums;
    for (const std::string& name : files_in(out_))
      if (!name.ends_with(".json")) sums[name] = sha256_file_hex(out_ / name);
    return sums;
  }
  /// After a run that was disturbed: another one finishes, and no step is made twice.
  void expect_the_rest_without_a_step_twice(int writers) {
    on_write_ = {};
    run_with(writers, "again");
    EXPECT_EQ(exit_code(result_.counts), ExitCode::done);
    for (const auto& [id, made] : steps_made_) EXPECT_EQ(made, steps) << id;
    EXPECT_THAT(steps_made_, SizeIs(rows_.size()));
    const auto after = contents();
    std::filesystem::remove_all(out_);
    run_with(0, "serial");
    EXPECT_EQ(after, contents());
  }

  std::vector<manifest::ManifestRow> rows_ = rows_of(many_rows(4));
  std::map<std::string, int> steps_made_;
};

TEST_F(Writers, AnItemIsWrittenWhileTheNextTwoAreMade) {
  std::atomic<bool> third_has_begun = false;
  on_run_ = [&](const Request& request, const OutputPaths&) {
    if (request.id == "item2") third_has_begun = true;
  };
  on_write_ = [&](const Request& request, const GivenUp& is_given_up) {
    return request.id != "item0" || until([&] { return third_has_begun.load(); }, is_given_up);
  };
  run_with(2);
  EXPECT_EQ(exit_code(result_.counts), ExitCode::done);
  EXPECT_EQ(result_.counts.made, 4);
  EXPECT_THAT(ended_, SizeIs(4));
  const auto beside = contents();
  std::filesystem::remove_all(out_);
  on_write_ = {};
  run_with(0);
  EXPECT_EQ(beside, contents());
  EXPECT_THAT(beside, SizeIs(8));
}

TEST_F(Writers, TheRecordTellsTheSecondsOfWriting) {
  on_write_ = [](const Request&, const GivenUp&) {
    std::this_thread::sleep_for(a_moment);
    return true;
  };
  run_with(1);
  EXPECT_GE(read("item1.json")["phase_seconds"]["write"], 0.03);
  ASSERT_EQ(ended_.front().background.size(), 2U);
  const BackgroundPhase& write = ended_.front().background.front();
  EXPECT_EQ(write.phase, "write");
  EXPECT_GE(write.end - write.begin, a_moment);
  EXPECT_EQ(ended_.front().background.back().phase, "publish");
}

TEST_F(Writers, SlowWritersNeverLetMoreFramesBeHeldThanTheBound) {
  rows_ = rows_of(many_rows(12));
  std::atomic<int> begun = 0;
  int writers = 0;
  on_run_ = [&](const Request&, const OutputPaths&) { ++begun; };
  on_write_ = [&](const Request&, const GivenUp& is_given_up) {
    const bool goes_on = until([&] { return held_->now > writers || begun == 12; }, is_given_up);
    std::this_thread::sleep_for(a_moment);  // in which one more would come, as the steps take nothing
    return goes_on;
  };
  for (writers = 1; writers <= 3; ++writers) {
    std::filesystem::remove_all(out_);
    begun = 0;
    run_with(writers);
    EXPECT_EQ(result_.counts.made, 12);
    EXPECT_EQ(most_held_, writers + 1) << "one for each thread, and the one that is being made";
  }
}

/// With a single step no item comes to the second expert, so none waits for it.
TEST_F(Writers, TheBoundHoldsForItemsThatNeedOneOfTwoExpertsInTurn) {
  rows_ = rows_of(many_rows(8));
  constexpr int writers = 1;
  std::atomic<int> begun = 0;
  on_run_ = [&](const Request&, const OutputPaths&) { ++begun; };
  on_write_ = [&](const Request&, const GivenUp& is_given_up) {
    const bool goes_on = until([&] { return held_->now > writers || begun == 8; }, is_given_up);
    std::this_thread::sleep_for(a_moment);  // in which more would come, as the steps take nothing
    return goes_on;
  };
  run_with(writers, "run-1", [](RunContext& context) {
    context.requests.command_line.sample_steps = 1;
    context.items_in_turn = 16;
  });
  EXPECT_EQ(result_.counts.made, 8);
  EXPECT_EQ(most_held_, writers + 1);
}

TEST_F(Writers, AnErrorOfAWriterFailsItsItemAlone) {
  on_write_ = [](const Request& request, const GivenUp&) -> bool {
    if (request.id == "item1") fail_item("write", "the encoder does not like it");
    if (request.id == "item2") throw std::bad_alloc();
    return true;
  };
  run_with(2);
  EXPECT_EQ(exit_code(result_.counts), ExitCode::some_failed);
  EXPECT_EQ(result_.counts.made, 2);
  EXPECT_EQ(result_.counts.failed, 2);
  EXPECT_EQ(read("item1.failed.json")["stage"], "write");
  EXPECT_EQ(read("item1.failed.json")["message"], "the encoder does not like it");
  EXPECT_EQ(read("item2.failed.json")["stage"], "memory");
  EXPECT_THAT(files_in(out_), Not(Contains(::testing::StartsWith("."))));
  EXPECT_TRUE(std::filesystem::is_empty(out_ / ".claims"));
  on_write_ = {};
  run_with(2, "run-2", [](RunContext& context) { context.results.retry_failed = true; });
  EXPECT_THAT(first_steps_, ElementsAre(steps, steps)) << "their steps are saved";
}

TEST_F(Writers, StorageThatFailsEndsTheRunAndNoStepIsLost) {
  for (const int writers : {1, 3}) {
    std::filesystem::remove_all(out_);
    steps_made_.clear();
    on_write_ = [](const Request& request, const GivenUp&) -> bool {
      if (request.id == "item1") throw StorageError("the disk is full");
      return true;
    };
    run_with(writers);
    EXPECT_EQ(exit_code(result_.counts), ExitCode::failure);
    EXPECT_THAT(result_.counts.problem, HasSubstr("the disk is full"));
    EXPECT_EQ(result_.counts.failed, 0);
    EXPECT_FALSE(is_done("item1"));
    EXPECT_TRUE(std::filesystem::is_empty(out_ / ".claims"));
    expect_the_rest_without_a_step_twice(writers);
  }
}

TEST_F(Writers, AStopWaitsForTheWriters) {
  std::atomic<bool> stop = false;
  on_write_ = [&](const Request&, const GivenUp&) {
    stop = true;
    std::this_thread::sleep_for(a_moment);
    return true;
  };
  run_with(2, "run-1", [&](RunContext& context) { context.stop.is_requested = [&] { return stop.load(); }; });
  EXPECT_EQ(exit_code(result_.counts), ExitCode::stopped_early);
  EXPECT_TRUE(is_done("item0"));
  expect_the_rest_without_a_step_twice(2);
}

TEST_F(Writers, ATimeLimitLeavesUpToThreeVideosAndNoStepIsLost) {
  for (const int writers : {1, 2, 3}) {
    std::filesystem::remove_all(out_);
    steps_made_.clear();
    std::atomic<int> begun = 0;
    on_write_ = [&](const Request&, const GivenUp& is_given_up) {
      ++begun;
      return until([] { return false; }, is_given_up);  // takes for ever
    };
    run_with(writers, "run-1", [&](RunContext& context) {
      context.stop.time_limit_s = 100;
      context.stop.elapsed_s = [&] { return begun == writers ? 99.0 : 0.0; };
    });
    EXPECT_EQ(exit_code(result_.counts), ExitCode::stopped_early);
    EXPECT_EQ(result_.counts.made, 0);
    EXPECT_EQ(result_.counts.steps_gained, steps * std::ssize(steps_made_)) << "all of them are saved";
    EXPECT_TRUE(std::filesystem::is_empty(out_ / ".claims"));
    EXPECT_THAT(files_in(out_), ElementsAre("run.json"));
    expect_the_rest_without_a_step_twice(writers);
  }
}

TEST_F(Writers, AnEngineThatBreaksLeavesTheItemsInWritingToTheNextRun) {
  on_write_ = [](const Request&, const GivenUp& is_given_up) {
    return until([] { return false; }, is_given_up);
  };
  on_run_ = [](const Request& request, const OutputPaths&) {
    if (request.id == "item2") fail("the GPU fell off the bus");
  };
  EXPECT_EQ(message_of<Error>([&] { run_with(2); }), "the GPU fell off the bus");
  EXPECT_THAT(files_in(out_), IsEmpty());
  EXPECT_TRUE(std::filesystem::is_empty(out_ / ".claims"));
  on_run_ = {};
  expect_the_rest_without_a_step_twice(2);
}

TEST_F(Writers, WantOfMemoryLetsTheWritersFinishBeforeTheItemIsTriedAgain) {
  leaner_ = "weights sharded";
  std::atomic<int> in_writing = 0;
  on_write_ = [&](const Request&, const GivenUp&) {
    ++in_writing;
    std::this_thread::sleep_for(a_moment);
    --in_writing;
    return true;
  };
  int tries = 0;
  on_run_ = [&](const Request& request, const OutputPaths&) {
    if (request.id != "item1") return;
    if (++tries == 1) throw MemoryError("denoise", "too little");
    EXPECT_EQ(in_writing, 0);
  };
  run_with(2);
  EXPECT_EQ(tries, 2);
  EXPECT_EQ(result_.counts.made, 4);
}

TEST_F(Writers, StatusShowsWhatIsBeingWritten) {
  std::map<std::string, std::string> phases;
  std::atomic<bool> has_looked = false;
  on_write_ = [&](const Request&, const GivenUp& is_given_up) {
    return until([&] { return has_looked.load(); }, is_given_up);
  };
  on_step_ = [&](const Request& request, int step) {
    if (request.id != "item2" || step != 1) return;
    for (const auto& worker : store::read_status(out_).workers) phases[worker.id] = worker.phase;
    has_looked = true;
  };
  run_with(2);
  EXPECT_EQ(phases, (std::map<std::string, std::string>{
                        {"item0", "write"}, {"item1", "write"}, {"item2", "denoise"}}));
}

TEST_F(Writers, AVideoThatEndsTheProgramIsFoundAndTheOthersAreMade) {
  rows_ = rows_of("id,prompt\na,a\nb,killer\nc,c\nd,d\n");
  on_write_ = [](const Request& request, const GivenUp&) {
    std::this_thread::sleep_for(a_moment);
    if (request.prompt == "killer") ::raise(SIGKILL);
    return true;
  };
  int deaths = 0;
  for (; deaths < 10; ++deaths) {
    const pid_t child = ::fork();
    if (child == 0) {
      run_with(2, fmt::format("run-{}", deaths));
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status)) break;
  }
  EXPECT_LE(deaths, 5)
      << "the first time its steps were saved; then it comes last and has failed after three";
  EXPECT_EQ(read("b.failed.json")["stage"], "crash");
  for (const char* id : {"a", "c", "d"}) EXPECT_TRUE(is_done(id)) << id;
}

}  // namespace
}  // namespace wan::batch
