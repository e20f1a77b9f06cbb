#include "batch/writer_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <utility>

namespace wan::batch {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

constexpr std::chrono::milliseconds nap{1};

/// A job that runs until the test lets it go or it is given up.
class HeldJob final : public WriterJob {
 public:
  struct Trace {
    std::mutex mutex;
    std::vector<int> begun;
    std::vector<int> given_up;
    std::vector<int> settled;
    std::atomic<int> running = 0;
    std::atomic<int> most_running = 0;
    std::atomic<int> alive = 0;
  };
  HeldJob(int number, const std::atomic<bool>& may_end, Trace& trace)
      : number_(number), may_end_(may_end), trace_(trace) {
    ++trace_.alive;
  }
  ~HeldJob() override { --trace_.alive; }
  void run(const std::function<bool()>& is_given_up) noexcept override {
    const int running = ++trace_.running;
    for (int most = trace_.most_running; most < running;)
      trace_.most_running.compare_exchange_weak(most, running);
    {
      const std::scoped_lock lock(trace_.mutex);
      trace_.begun.push_back(number_);
    }
    while (!may_end_ && !is_given_up()) std::this_thread::sleep_for(nap);
    if (!may_end_) {
      const std::scoped_lock lock(trace_.mutex);
      trace_.given_up.push_back(number_);
    }
    --trace_.running;
  }
  void settle() override { trace_.settled.push_back(number_); }

 private:
  int number_;
  const std::atomic<bool>& may_end_;
  Trace& trace_;
};

class WriterPoolTest : public ::testing::Test {
 protected:
  std::unique_ptr<WriterJob> job(int number) { return std::make_unique<HeldJob>(number, may_end_, trace_); }
  void await_running(int jobs) {
    while (trace_.running < jobs) std::this_thread::sleep_for(nap);
  }
  void settle_all(WriterPool& pool) {
    while (pool.unsettled() > 0) {
      pool.wait(nap);
      pool.settle();
    }
  }

  std::atomic<bool> may_end_ = false;
  HeldJob::Trace trace_;
};

TEST_F(WriterPoolTest, RunsAsManyJobsAtOnceAsItHasThreadsAndThenHasRoomForOneMore) {
  WriterPool pool(2);
  for (int number = 0; number < 3; ++number) {
    EXPECT_TRUE(pool.has_room()) << number << " jobs";
    pool.add(job(number));
  }
  await_running(2);
  EXPECT_FALSE(pool.has_room()) << "two are running and one is waiting";
  EXPECT_EQ(pool.unsettled(), 3);
  may_end_ = true;
  settle_all(pool);
  EXPECT_EQ(trace_.most_running, 2);
  EXPECT_THAT(trace_.settled, UnorderedElementsAre(0, 1, 2));
  EXPECT_TRUE(pool.has_room());
}

TEST_F(WriterPoolTest, OneThreadKeepsTheOrder) {
  WriterPool pool(1);
  may_end_ = true;
  for (int number = 0; number < 20; ++number) pool.add(job(number));
  settle_all(pool);
  EXPECT_EQ(trace_.begun, trace_.settled);
  EXPECT_TRUE(std::ranges::is_sorted(trace_.begun));
}

TEST_F(WriterPoolTest, JobsThatAreGivenUpLeaveAndAreSettled) {
  WriterPool pool(1);
  pool.add(job(0));
  pool.add(job(1));
  await_running(1);
  pool.give_up();
  settle_all(pool);
  EXPECT_THAT(trace_.given_up, ElementsAre(0, 1))
      << "also the one that had not begun, so that it leaves in order";
  EXPECT_THAT(trace_.settled, ElementsAre(0, 1));
}

TEST_F(WriterPoolTest, TheEndGivesJobsUpAndWaitsForThem) {
  {
    WriterPool pool(2);
    for (int number = 0; number < 5; ++number) pool.add(job(number));
    await_running(2);
  }
  EXPECT_EQ(trace_.alive, 0);
  EXPECT_THAT(trace_.given_up, UnorderedElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(trace_.settled, ElementsAre()) << "nobody is there to be told";
}

TEST_F(WriterPoolTest, WithoutThreadsAJobIsDoneWhenItIsAdded) {
  WriterPool pool(0);
  may_end_ = true;
  EXPECT_TRUE(pool.has_room());
  pool.add(job(7));
  EXPECT_THAT(trace_.begun, ElementsAre(7));
  EXPECT_TRUE(pool.has_room());
  pool.settle();
  EXPECT_THAT(trace_.settled, ElementsAre(7));
}

TEST_F(WriterPoolTest, WaitingEndsWithTheFirstJobOrInTime) {
  WriterPool pool(1);
  pool.wait(std::chrono::minutes(10));  // nothing is under way
  pool.add(job(0));
  pool.wait(nap);
  may_end_ = true;
  pool.wait(std::chrono::minutes(10));
  pool.settle();
  EXPECT_THAT(trace_.settled, ElementsAre(0));
}

}  // namespace
}  // namespace wan::batch
