#include "display/job_account.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "display/job_progress.h"
#include "support/temp_dir.h"

namespace wan::display {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

store::BatchStatus counts(std::int64_t rows, std::int64_t done, std::int64_t failed = 0) {
  store::BatchStatus status;
  status.rows = rows;
  status.done = done;
  status.failed = failed;
  return status;
}

store::GroupProgress of_run(const std::string& run, double used_rank_s = 0) {
  store::GroupProgress progress;
  progress.run = run;
  progress.used_rank_s = used_rank_s;
  return progress;
}

batch::ItemOutcome outcome(const std::string& id, batch::ItemStatus status) {
  batch::ItemOutcome outcome;
  outcome.id = id;
  outcome.status = status;
  return outcome;
}

/// The record of a job's starts, with the files that scripts and program write.
class JobRecord : public ::testing::Test {
 protected:
  JobRecord() { std::filesystem::create_directories(folder()); }
  std::filesystem::path folder() const { return store::job_folder(out_.path(), "4711"); }
  std::filesystem::path start(int number) const { return folder() / ("start-" + std::to_string(number)); }
  void write(int number, const std::string& lines) const { std::ofstream(start(number)) << lines; }
  std::vector<store::JobStart> starts() const { return store::read_job_starts(folder()); }
  std::string account(const QueueState& queue, const store::BatchStatus& status = {}) const {
    return account_text(queue, starts(), status, "/bin/wan_batch status /out", "--retry");
  }

  wan::test::TempDir out_;
};

/// A chain of five starts: time limit, preemption, node down, controller away, success.
class Chain : public JobRecord {
 protected:
  Chain() {
    const std::string head = "gpus=8\ncommand=sbatch a.sh\n";
    write(1, head +
                 "began_s=1000\nseen_s=1060\nrequeued=yes\nreason=stopped before the time "
                 "limit\nexit_code=85\nended_s=4600\n");
    write(2, head + "began_s=5000\nreason=preempted\nexit_code=85\nended_s=6800\nrequeued=yes\n");
    write(3, head + "began_s=7000\nseen_s=7060\nseen_s=8800\n");
    write(
        4,
        head + "began_s=9000\ntold_to_stop=TERM\nreason=told to end (SIGTERM)\nended_s=9900\nexit_code=85\n");
    write(5, head + "began_s=10000\nended_s=10900\nreason=done\nexit_code=0\n");
    store::write_group_progress(start(1), 0, of_run("a", 8 * 3000));
    store::GroupProgress third = of_run("c", 8 * 1500);
    third.at_s = 8830;
    store::write_group_progress(start(3), 0, third);
    store::GroupProgress fourth = of_run("d", 8 * 800);
    fourth.lost_steps = 4;
    fourth.lost_rank_s = 8 * 100;
    store::write_group_progress(start(4), 0, fourth);
  }
};

TEST_F(Chain, HoursAddUpToTheLengthOfAllStarts) {
  const GpuHours hours = gpu_hours(starts());
  // A start that was killed lasts to its last sign of life.
  EXPECT_DOUBLE_EQ(hours.total, 8 * (3600 + 1800 + 1830 + 900 + 900) / 3600.0);
  EXPECT_DOUBLE_EQ(hours.used, 8 * (3000 + 1500 + 800 - 100) / 3600.0);
  EXPECT_DOUBLE_EQ(hours.lost, 8 * 100 / 3600.0);
  EXPECT_EQ(hours.lost_steps, 4);
  EXPECT_DOUBLE_EQ(hours.total, hours.used + hours.lost + hours.idle());
}

TEST_F(Chain, EachStartSaysWhyItEnded) {
  const std::string text = account({.job = "4711", .state = "", .reason = ""}, counts(3, 3));
  EXPECT_THAT(text, HasSubstr("job 4711: 5 starts, 3 of 3 rows done\n"));
  EXPECT_THAT(text, HasSubstr("1:00:00     8  stopped before the time limit\n"));
  EXPECT_THAT(text, HasSubstr("0:30:00     8  preempted\n"));
  EXPECT_THAT(text, HasSubstr("0:30:30     8  killed without notice: a preemption without grace"));
  EXPECT_THAT(text, HasSubstr("told to end (SIGTERM)\n"));
  EXPECT_THAT(text, HasSubstr("(4 steps made again)"));
  EXPECT_THAT(text, HasSubstr("next: nothing, all rows are done; see /bin/wan_batch status /out\n"));
}

TEST_F(JobRecord, TheNextCommandFollowsFromTheLastStart) {
  const QueueState gone{.job = "4711", .state = {}, .reason = {}};
  write(1, "command=sbatch a.sh\nended_s=5\nexit_code=3\nreason=some rows failed\n");
  store::BatchStatus status = counts(2, 1, 1);
  status.failures.push_back({.id = "row1",
                             .of_manifest = true,
                             .manifest = "rows.csv",
                             .line = 7,
                             .stage = "decode",
                             .message = "no"});
  const std::string failed = account(gone, status);
  EXPECT_THAT(failed, HasSubstr("failed: 1 row\n    row1 (rows.csv, line 7)  decode: no\n"));
  EXPECT_THAT(failed, HasSubstr("are mended: sbatch a.sh --retry\n"));
  write(1, "command=sbatch a.sh\nended_s=5\nexit_code=85\nrequeued=no\n");
  EXPECT_THAT(account(gone, counts(2, 1)), HasSubstr("  next: sbatch a.sh\n"));
  store::BatchStatus stopped = counts(2, 1);
  stopped.has_stop_file = true;
  EXPECT_THAT(account(gone, stopped),
              HasSubstr("  next, once the file STOP in the output folder is removed: sbatch a.sh\n"));
  write(1, "command=sbatch a.sh\nended_s=5\nexit_code=85\nrequeued=yes\n");
  EXPECT_THAT(account(gone, counts(2, 1)),
              HasSubstr("Slurm starts the job again; to watch it: squeue -j 4711\n"));
  write(1, "command=sbatch a.sh\nended_s=5\nexit_code=139\nreason=a rank died (SIGSEGV)\n");
  EXPECT_THAT(account(gone, counts(2, 1)),
              HasSubstr("once the cause in the job's log is mended: sbatch a.sh\n"));
  write(1, "command=sbatch a.sh\nbegan_s=1\n");
  EXPECT_THAT(account({.job = "4711", .state = "RUNNING", .reason = "None"}), HasSubstr("(it runs)\n"));
}

TEST_F(JobRecord, SlurmsStatesInWords) {
  const auto words = [&](const char* state, const char* reason) {
    return queue_words({.job = "4711", .state = state, .reason = reason}, starts());
  };
  EXPECT_THAT(words("", ""), IsEmpty());
  EXPECT_EQ(words("RUNNING", "None"), "running");
  EXPECT_EQ(words("PREEMPTED", "None"), "preempted");
  EXPECT_EQ(words("PENDING", "Priority"), "pending (Priority)");
  EXPECT_EQ(words("PENDING", "JobHeldUser"), "held: `scontrol release 4711` lets it go");
  EXPECT_EQ(words("PENDING", "job requeued in held state"), "held: `scontrol release 4711` lets it go");
  write(1, "reason=preempted\n");
  EXPECT_EQ(words("PENDING", "BeginTime"), "pending after a preemption (BeginTime)");
}

TEST_F(JobRecord, FilesMayHoldAnything) {
  write(1, "nonsense\nbegan_s=x\ngpus=99999999999999999999\n=\n");
  std::ofstream(start(1).string() + ".group-0.json") << "[1, 2";
  std::ofstream(start(1).string() + ".group-1.json") << R"({"run": 7, "step": "x", "made": -3})";
  std::ofstream(folder() / "start-x") << "";
  std::filesystem::create_directories(out_ / ".jobs" / "; rm");
  ASSERT_EQ(starts().size(), 1U);
  EXPECT_EQ(starts()[0].groups.size(), 2U);
  EXPECT_THAT(store::recorded_jobs(out_.path()), ElementsAre("4711"));
  EXPECT_THAT(account({.job = "4711", .state = "", .reason = ""}), HasSubstr("GPU-hours: none"));
}

TEST_F(JobRecord, OnlyRunsOfCrashedStartsCount) {
  write(1, "ended_by=crash\n");
  write(2, "reason=preempted\n");
  store::write_group_progress(start(1), 0, of_run("a"));
  store::write_group_progress(start(1), 1, of_run("a"));
  store::write_group_progress(start(2), 0, of_run("b"));
  EXPECT_THAT(store::crashed_runs(start(3)), ElementsAre("a"));
  EXPECT_THAT(store::crashed_runs({}), IsEmpty());
}

/// An observer that hears the events of a run of two ranks.
class Progressing : public JobRecord {
 protected:
  Progressing() {
    request_.id = "row0";
    request_.sample_steps = 10;
  }
  JobProgress observer(int number, const std::string& run) {
    write(number, "");
    return {{.start_record = start(number), .run = run, .group_ranks = 2, .failed_before = 1},
            [this] { return now_s_; }};
  }
  void begin(JobProgress& progress, int first_step) {
    progress.on_item_start({.request = request_, .settled = 4, .rows = 9});
    StretchEvent stretch;
    stretch.first_step = first_step;
    stretch.ranks = 2;
    progress.on_stretch(stretch);
  }
  void steps(JobProgress& progress, int first, int end) {
    for (int step = first; step < end; ++step) {
      now_s_ += 2;
      for (int rank = 0; rank < 2; ++rank)
        progress.on_step({.group_rank = rank, .group_ranks = 2, .step = step, .step_count = 10, .wall_s = 2});
    }
  }
  store::GroupProgress read(int number) const {
    return starts().at(static_cast<std::size_t>(number - 1)).groups.at(0);
  }

  Request request_;
  double now_s_ = 0;
};

TEST_F(Progressing, TheTimeLeftOfAnItemIsKnownWhileAThreadWritesTheOneBefore) {
  JobProgress progress = observer(1, "run 1");
  begin(progress, 0);
  steps(progress, 0, 10);
  progress.on_writing("row0");
  request_.id = "row1";
  begin(progress, 0);
  steps(progress, 0, 4);
  now_s_ += 2;  // beyond the second in which nothing is written
  batch::ItemOutcome written;
  written.id = "row0";
  written.status = batch::ItemStatus::done;
  progress.on_item_end(written);
  EXPECT_GE(read(1).left_s, 10) << "6 steps of 2 s are left of the second row";
  EXPECT_EQ(read(1).made, 1);
  EXPECT_EQ(read(1).id, "row1");
}

TEST_F(Progressing, CountsWhatRanAndWhatIsMadeAgain) {
  JobProgress first = observer(1, "run 1");
  begin(first, 0);
  EXPECT_TRUE(read(1).in_hand);
  first.on_phase({.phase = "encode", .wall_s = 3});
  first.on_phase({.phase = "idle", .wall_s = 100});
  first.on_phase({.phase = "denoise", .wall_s = 100});
  first.on_phase({.phase = "text", .wall_s = 100, .is_background = true});
  steps(first, 0, 6);
  EXPECT_EQ(read(1).step, 6);
  EXPECT_EQ(read(1).steps_made, 6);
  EXPECT_EQ(read(1).settled_before, 4);
  EXPECT_EQ(read(1).failed_before, 1);
  EXPECT_DOUBLE_EQ(read(1).used_rank_s, 2 * (3 + 6 * 2));
  EXPECT_EQ(read(1).left_s, 8) << "four steps of 2 s";

  // Killed after the sixth step; the last save was after the fourth.
  JobProgress second = observer(2, "run 2");
  begin(second, 4);
  steps(second, 4, 10);
  second.on_item_end(outcome("row0", batch::ItemStatus::done));
  EXPECT_EQ(read(2).lost_steps, 2);
  EXPECT_DOUBLE_EQ(read(2).lost_rank_s, 2 * 2 * 2);
  EXPECT_EQ(read(2).made, 1);
  EXPECT_FALSE(read(2).in_hand);
}

TEST_F(Progressing, ARowThatWasPutAsideLosesNothing) {
  JobProgress first = observer(1, "run 1");
  begin(first, 0);
  steps(first, 0, 3);
  first.on_item_end(outcome("row0", batch::ItemStatus::open));
  EXPECT_FALSE(read(1).in_hand);
  JobProgress second = observer(2, "run 2");
  begin(second, 3);
  EXPECT_EQ(read(2).lost_steps, 0);
}

}  // namespace
}  // namespace wan::display
