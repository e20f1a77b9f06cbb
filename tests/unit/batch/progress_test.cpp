#include "batch/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "batch/summary.h"
#include "stub_group.h"

namespace wan::batch {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ProgressTest : public ::testing::Test {
 protected:
  ProgressTest() : file_(std::tmpfile(), std::fclose) {}

  std::string written() const {
    std::fflush(file_.get());
    std::rewind(file_.get());
    std::string text;
    std::array<char, 4096> piece{};
    for (std::size_t got = 0; (got = std::fread(piece.data(), 1, piece.size(), file_.get())) > 0;) {
      text.append(piece.data(), got);
    }
    return text;
  }
  static StepEvent step(int index, int count, double wall_s) {
    StepEvent event;
    event.step = index;
    event.step_count = count;
    event.wall_s = wall_s;
    return event;
  }

  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  double now_s_ = 0;
};

TEST_F(ProgressTest, WithoutATerminalAtMostOneLineEveryTenSeconds) {
  Progress progress(file_.get(), {}, 1, [&] { return now_s_; });
  Request request;
  request.sample_steps = 4;
  for (int item = 0; item < 1000; ++item, now_s_ += 0.1) {
    request.id = fmt::format("item-{}", item);
    progress.on_item_start({.request = request, .row = item, .settled = item, .rows = 1000});
    progress.on_step(step(0, 4, 0.025));
    progress.on_item_end(
        {.id = request.id, .status = ItemStatus::done, .seconds = 0.1, .stage = {}, .message = {}});
  }
  const std::string text = written();
  EXPECT_LE(std::ranges::count(text, '\n'), 11);
  EXPECT_GE(std::ranges::count(text, '\n'), 9);
  EXPECT_THAT(text, HasSubstr("1/1000 item-0"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST_F(ProgressTest, TerminalLineShowsStepsAndTimeLeftAndFitsTheWidth) {
  {
    Progress progress(file_.get(), {.is_terminal = true, .columns = 80}, 2, [&] { return now_s_; });
    Request request;
    request.id = "cat-12345678";
    request.sample_steps = 40;
    progress.on_item_start({.request = request, .row = 2, .settled = 2, .rows = 5});
    for (int i = 0; i < 20; ++i) {
      now_s_ += 4;
      progress.on_step(step(i, 40, 4));
      StepEvent other = step(i, 40, 4);
      other.group_rank = 1;
      progress.on_step(other);  // must not count twice
    }
  }
  const std::string text = written();
  // Half of an item of 160 s is left, and one more for this group: 80 + 160 s.
  EXPECT_THAT(
      text,
      HasSubstr("\r[##########..........] 3/5 cat-12345678  step 20/40  4.00 s/step  4 min left\x1b[K"));
  EXPECT_TRUE(text.ends_with("\r\x1b[K"));
}

TEST(Duration, ReadsWell) {
  EXPECT_EQ(format_duration(3.21), "3.2 s");
  EXPECT_EQ(format_duration(42), "42 s");
  EXPECT_EQ(format_duration(780), "13 min");
  EXPECT_EQ(format_duration(7500), "2 h 05 min");
}

TEST(Summary, ShowsItemsCountsAndWhatToDo) {
  const std::vector<ItemOutcome> outcomes{
      {.id = "a",
       .status = ItemStatus::done,
       .of_this_run = true,
       .size = {832, 464},
       .frames = 81,
       .steps = 40,
       .seconds = 123.4,
       .median_step_s = 3.05,
       .stage = {},
       .message = {}},
      {.id = "b",
       .status = ItemStatus::failed,
       .of_this_run = true,
       .stage = "image",
       .message = "bad\x1b[2J"},
      {.id = "c", .status = ItemStatus::open, .stage = {}, .message = {}}};
  const RunCounts counts = count(outcomes, true);
  const std::string text = format_summary(outcomes, counts, "out");
  EXPECT_THAT(text, HasSubstr("a   done             832*464      81     40      123.4      3.05\n"));
  EXPECT_THAT(text, HasSubstr("b   failed         image: bad\\x1b[2J\n"));
  EXPECT_THAT(text, HasSubstr("1 of 3 done, 1 failed, 1 open\n"));
  EXPECT_THAT(text, HasSubstr("1 failed: see out/b.failed.json; run again with --retry-failed\n"));
  EXPECT_THAT(text, HasSubstr("stopped early with 1 open: run the same command again to go on\n"));
  const std::string cut = format_summary(outcomes, counts, "out", 2);
  EXPECT_THAT(cut, HasSubstr("... and 1 more\n"));
  EXPECT_THAT(cut, HasSubstr("image: bad")) << "failures come first";
}

TEST(ExitCodes, FollowFromTheCounts) {
  EXPECT_EQ(exit_code({.made = 3}), ExitCode::done);
  EXPECT_EQ(exit_code({.made = 3, .failed_before = 1}), ExitCode::some_failed);
  EXPECT_EQ(exit_code({.made = 3, .failed = 1, .open = 1, .stopped = true}), ExitCode::stopped_early);
  EXPECT_EQ(exit_code({.made = 3, .failed = 1, .stopped = true}), ExitCode::some_failed);
}

}  // namespace
}  // namespace wan::batch
