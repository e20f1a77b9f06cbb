#include "display/progress.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "batch/summary.h"
#include "core/file.h"

namespace wan::display {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ProgressTest : public ::testing::Test {
 protected:
  ProgressTest() : file_(std::tmpfile(), std::fclose) {}

  std::string written() const {
    std::fflush(file_.get());
    EXPECT_EQ(std::fseek(file_.get(), 0, SEEK_SET), 0);
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

  static store::WorkLeft left_of(const std::vector<store::ItemWork>& items) {
    store::WorkLeft left;
    for (const store::ItemWork& item : items) left.add(item);
    return left;
  }
  /// Steps first..last of `count`, each of `step_s`.
  void make_steps(Progress& progress, int first, int last, int count, double step_s) {
    for (int i = first; i < last; ++i) {
      now_s_ += step_s;
      progress.on_step(step(i, count, step_s));
    }
  }

  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  double now_s_ = 0;
};

/// Shows every event.
constexpr ProgressStyle every_line{.is_bar = false, .line_every_s = 0};

std::string last_line(const std::string& text) {
  const std::size_t end = text.rfind('\n');
  return text.substr(text.rfind('\n', end - 1) + 1, end - text.rfind('\n', end - 1) - 1);
}

TEST_F(ProgressTest, AnItemThatIsResumedIsTimedByTheStepsOfThisStart) {
  Progress progress(file_.get(), every_line, 1, [&] { return now_s_; });
  Request request;
  request.id = "cat";
  request.sample_steps = 900;
  progress.on_item_start({.request = request, .row = 0, .settled = 0, .rows = 1});
  make_steps(progress, 41, 46, 900, 0.33);
  // 854 steps of 0.33 s are left: 282 s.
  EXPECT_EQ(last_line(written()), "1/1 cat  step 46/900  0.33 s/step  5 min left");
}

TEST_F(ProgressTest, TheFirstSlowStepsAreForgotten) {
  Progress progress(file_.get(), every_line, 1, [&] { return now_s_; });
  Request request;
  request.id = "cat";
  request.sample_steps = 100;
  progress.on_item_start({.request = request, .row = 0, .settled = 0, .rows = 1});
  make_steps(progress, 0, 1, 100, 60);
  make_steps(progress, 1, 20, 100, 1);
  EXPECT_EQ(last_line(written()), "1/1 cat  step 20/100  1.00 s/step  80 s left");
}

TEST_F(ProgressTest, ItemsThatAreStillToComeAreWeighedByTheirWork) {
  Progress progress(file_.get(), every_line, 1, [&] { return now_s_; });
  Request request;
  request.id = "small";
  request.sample_steps = 10;
  const store::ItemWork small{.steps = 10, .rest = 1};
  const store::ItemWork large{.steps = 90, .rest = 4};
  progress.on_item_start(
      {.request = request, .row = 0, .settled = 0, .rows = 2, .work = small, .left = left_of({large})});
  make_steps(progress, 0, 10, 10, 1);
  now_s_ += 5;  // decoding
  progress.on_item_end({.id = "small", .status = batch::ItemStatus::done, .stage = {}, .message = {}});
  request.id = "large";
  progress.on_item_start({.request = request, .row = 1, .settled = 1, .rows = 2, .work = large});
  EXPECT_EQ(last_line(written()), "2/2 large  2 min left") << "90 s of steps and 20 s of decoding";
  make_steps(progress, 0, 5, 10, 9);
  EXPECT_EQ(last_line(written()), "2/2 large  step 5/10  9.00 s/step  65 s left") << "45 s and 20 s";
}

TEST_F(ProgressTest, OnlyTheLastItemsWritingCountsWhereThreadsWrite) {
  Progress progress(file_.get(), every_line, 1, [&] { return now_s_; });
  Request request;
  request.id = "a";
  request.sample_steps = 10;
  const store::ItemWork work{.steps = 10, .rest = 1};
  progress.on_item_start(
      {.request = request, .row = 0, .settled = 0, .rows = 2, .work = work, .left = left_of({work})});
  make_steps(progress, 0, 10, 10, 1);
  now_s_ += 2;  // decoding
  progress.on_writing("a");
  request.id = "b";
  progress.on_item_start({.request = request, .row = 1, .settled = 0, .rows = 2, .work = work});
  make_steps(progress, 0, 6, 10, 1);
  EXPECT_EQ(last_line(written()), "2/2 b  step 6/10  1.00 s/step  1 being written  6.0 s left")
      << "4 s of steps and 2 s of decoding; nobody knows yet how long writing takes";
  const std::chrono::steady_clock::time_point begin{};
  progress.on_item_end(
      {.id = "a",
       .status = batch::ItemStatus::done,
       .stage = {},
       .message = {},
       .background = {{.phase = "write", .begin = begin, .end = begin + std::chrono::seconds(7)}}});
  EXPECT_EQ(last_line(written()), "2/2 b  step 6/10  1.00 s/step  13 s left");
  make_steps(progress, 6, 10, 10, 1);
  EXPECT_EQ(last_line(written()), "2/2 b  step 10/10 done, decoding  9.0 s left");
  now_s_ += 2;
  progress.on_writing("b");
  EXPECT_EQ(last_line(written()), "2/2 b  after decode  1 being written  7.0 s left");
}

TEST_F(ProgressTest, TheLargestItemTakesItsTimeHoweverManyGroupsThereAre) {
  Progress progress(file_.get(), every_line, 4, [&] { return now_s_; });
  Request request;
  request.id = "a";
  request.sample_steps = 4;
  const store::ItemWork small{.steps = 4, .rest = 0};
  progress.on_item_start({.request = request,
                          .row = 0,
                          .settled = 0,
                          .rows = 3,
                          .work = small,
                          .left = left_of({small, {.steps = 80, .rest = 0}})});
  make_steps(progress, 0, 3, 4, 1);
  EXPECT_EQ(last_line(written()), "1/3 a  step 3/4  1.00 s/step  81 s left");
}

TEST_F(ProgressTest, ABarWithoutEscapeCodesIsWipedOutWithBlanks) {
  {
    Progress progress(file_.get(), {.is_bar = true, .has_escapes = false, .redraw_every_s = 0}, 1,
                      [&] { return now_s_; });
    Request request;
    request.id = "a-long-name";
    progress.on_item_start({.request = request, .row = 0, .settled = 0, .rows = 2});
    request.id = "b";
    progress.on_item_start({.request = request, .row = 1, .settled = 1, .rows = 2});
  }
  const std::string bar =
      "\r[....................] 1/2 a-long-name\r[##########..........] 2/2 b          \r";
  EXPECT_EQ(written(), bar + std::string(28, ' ') + "\r");
}

TEST_F(ProgressTest, WideLettersAreCutAtTheTerminalsEdge) {
  Progress progress(file_.get(), {.is_bar = true, .columns = 32}, 1, [&] { return now_s_; });
  Request request;
  request.id = "猫猫猫猫";
  progress.on_item_start({.request = request, .row = 0, .settled = 0, .rows = 1});
  EXPECT_EQ(written(), "\r[....................] 1/1 猫猫\x1b[K") << "31 columns, of which 27 are taken";
}

TEST_F(ProgressTest, TheStyleIsTheUsersWish) {
  EXPECT_FALSE(progress_style_of(file_.get(), ProgressMode::off));
  EXPECT_TRUE(progress_style_of(file_.get(), ProgressMode::bar).value().is_bar);
  EXPECT_FALSE(progress_style_of(file_.get(), ProgressMode::lines).value().is_bar);
  EXPECT_FALSE(progress_style_of(file_.get(), ProgressMode::automatic).value().is_bar) << "a file";
}

/// A terminal of its own, whose program's side is `stream`.
struct PlayedTerminal {
  PlayedTerminal() : master(::posix_openpt(O_RDWR | O_NOCTTY)), stream(nullptr, std::fclose) {
    EXPECT_EQ(::grantpt(master.get()) | ::unlockpt(master.get()), 0);
    stream.reset(std::fopen(::ptsname(master.get()), "r+"));  // NOLINT(cppcoreguidelines-owning-memory)
    const winsize size{.ws_row = 24, .ws_col = 57, .ws_xpixel = 0, .ws_ypixel = 0};
    EXPECT_EQ(::ioctl(master.get(), TIOCSWINSZ, &size), 0);
  }
  UniqueFd master;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> stream;
};

TEST(ProgressStyleOf, ATerminalGetsABarUnlessItIsDumb) {
  const PlayedTerminal terminal;
  const char* before = std::getenv("TERM");
  const std::string kept = before != nullptr ? before : "";
  for (const auto& [name, is_bar] :
       {std::pair{"xterm", true}, std::pair{"dumb", false}, std::pair{"", false}}) {
    ::setenv("TERM", name, 1);
    const ProgressStyle style = progress_style_of(terminal.stream.get(), ProgressMode::automatic).value();
    EXPECT_EQ(style.is_bar, is_bar) << name;
    EXPECT_EQ(style.columns, 57);
    EXPECT_EQ(progress_style_of(terminal.stream.get(), ProgressMode::bar).value().has_escapes, is_bar)
        << name;
  }
  ::setenv("TERM", kept.c_str(), 1);
}

TEST_F(ProgressTest, WithoutATerminalAtMostOneLineEveryTenSeconds) {
  Progress progress(file_.get(), {}, 1, [&] { return now_s_; });
  Request request;
  request.sample_steps = 4;
  for (int item = 0; item < 1000; ++item, now_s_ += 0.1) {
    request.id = fmt::format("item-{}", item);
    progress.on_item_start({.request = request, .row = item, .settled = item, .rows = 1000});
    progress.on_step(step(0, 4, 0.025));
    progress.on_item_end(
        {.id = request.id, .status = batch::ItemStatus::done, .seconds = 0.1, .stage = {}, .message = {}});
  }
  const std::string text = written();
  EXPECT_LE(std::ranges::count(text, '\n'), 11);
  EXPECT_GE(std::ranges::count(text, '\n'), 9);
  EXPECT_THAT(text, HasSubstr("1/1000 item-0"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST_F(ProgressTest, TerminalLineShowsStepsAndTimeLeftAndFitsTheWidth) {
  {
    Progress progress(file_.get(), {.is_bar = true, .columns = 80}, 2, [&] { return now_s_; });
    Request request;
    request.id = "cat-12345678";
    request.sample_steps = 40;
    progress.on_item_start(
        {.request = request, .row = 2, .settled = 2, .rows = 5, .left = left_of({{}, {}})});
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

TEST(Summary, ShowsItemsCountsAndWhatToDo) {
  const std::vector<batch::ItemOutcome> outcomes{
      {.id = "a",
       .status = batch::ItemStatus::done,
       .of_this_run = true,
       .size = {832, 464},
       .frames = 81,
       .steps = 40,
       .seconds = 123.4,
       .median_step_s = 3.05,
       .stage = {},
       .message = {}},
      {.id = "b",
       .status = batch::ItemStatus::failed,
       .of_this_run = true,
       .stage = "image",
       .message = "bad\x1b[2J"},
      {.id = "c", .status = batch::ItemStatus::open, .stage = {}, .message = {}}};
  const batch::RunCounts counts = count(outcomes, true);
  const batch::SettingNames names{.retry_failed = "--retry-failed"};
  const std::string text = batch::format_summary(outcomes, counts, "out", names);
  EXPECT_THAT(text, HasSubstr("a   done             832*464      81     40      123.4      3.05\n"));
  EXPECT_THAT(text, HasSubstr("b   failed         image: bad\\x1b[2J\n"));
  EXPECT_THAT(text, HasSubstr("1 of 3 done, 1 failed, 1 open\n"));
  EXPECT_THAT(text, HasSubstr("1 failed: see out/b.failed.json; run again with --retry-failed\n"));
  EXPECT_THAT(text, HasSubstr("stopped early with 1 open: run the same command again to go on\n"));
  const std::string cut = batch::format_summary(outcomes, counts, "out", names, 2);
  EXPECT_THAT(cut, HasSubstr("... and 1 more\n"));
  EXPECT_THAT(cut, HasSubstr("image: bad")) << "failures come first";
}

TEST(ExitCodes, FollowFromTheCounts) {
  EXPECT_EQ(batch::exit_code({.made = 3}), ExitCode::done);
  EXPECT_EQ(batch::exit_code({.made = 3, .failed_before = 1}), ExitCode::some_failed);
  EXPECT_EQ(batch::exit_code({.made = 3, .failed = 1, .open = 1, .stopped = true}), ExitCode::stopped_early);
  EXPECT_EQ(batch::exit_code({.made = 3, .failed = 1, .stopped = true}), ExitCode::some_failed);
}

}  // namespace
}  // namespace wan::display
