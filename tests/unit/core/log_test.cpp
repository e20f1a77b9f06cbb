#include "core/log.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <iomanip>
#include <regex>
#include <sstream>

#include "core/console.h"
#include "core/file.h"
#include "support/temp_dir.h"
#include "wan/error.h"

namespace wan {
namespace {

TEST(Log, AppendsLinesWithRank) {
  const test::TempDir dir;
  for (const char* line : {"first", "second"}) {
    Log log(3, LogLevel::quiet, nullptr);
    log.open_file(dir / "log");
    log.info("{}", line);
  }
  const std::string text = read_text_file(dir / "log", 10'000);
  EXPECT_NE(text.find("[rank 3] first\n"), std::string::npos) << text;
  EXPECT_NE(text.find("[rank 3] second\n"), std::string::npos) << text;
}

TEST(Log, AConsoleThatTakesNothingIsNoError) {
  const test::TempDir dir;
  outlive_console();
  std::FILE* full = std::fopen("/dev/full", "w");  // NOLINT(cppcoreguidelines-owning-memory)
  ASSERT_NE(full, nullptr);
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  ::close(ends[0]);
  std::FILE* closed = ::fdopen(ends[1], "w");
  ASSERT_NE(closed, nullptr);
  for (std::FILE* console : {full, closed}) {
    Log log(0, LogLevel::normal, console);
    log.open_file(dir / "log");
    for (int line = 0; line < 3; ++line) log.info("line {} {}", line, std::string(9000, 'x'));
    std::fclose(console);  // NOLINT(cppcoreguidelines-owning-memory)
  }
  const std::string text = read_text_file(dir / "log", 100'000);
  for (const char* line : {"line 0", "line 1", "line 2"})
    EXPECT_NE(text.find(line), text.rfind(line)) << line << " is not there twice";
}

TEST(Log, ModesFollowTheUmask) {
  const test::TempDir dir;
  const mode_t before = ::umask(002);
  Log(0, LogLevel::quiet, nullptr).open_file(dir / "log");
  ::umask(before);
  struct stat status {};
  ASSERT_EQ(::stat((dir / "log").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0664U);
}

TEST(Log, TellsTheTimeInUtc) {
  const test::TempDir dir;
  ::setenv("TZ", "Asia/Tokyo", 1);
  ::tzset();
  Log log(3, LogLevel::quiet, nullptr);
  log.open_file(dir / "log");
  const auto before = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  log.info("a line");
  ::unsetenv("TZ");
  ::tzset();
  const std::string text = read_text_file(dir / "log", 10'000);
  EXPECT_TRUE(
      std::regex_match(text, std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[rank 3\] a line\n)")))
      << text;
  std::tm parts{};
  std::istringstream(text) >> std::get_time(&parts, "%Y-%m-%dT%H:%M:%S");
  const int milliseconds = std::stoi(text.substr(20, 3));
  const std::chrono::sys_time<std::chrono::milliseconds> told(std::chrono::seconds(::timegm(&parts)) +
                                                              std::chrono::milliseconds(milliseconds));
  EXPECT_LE(before, told);
  EXPECT_LT(told - before, std::chrono::seconds(60));
}

TEST(Log, FollowsNoLinkAndWaitsForNoPipe) {
  const test::TempDir dir;
  std::filesystem::create_symlink(dir / "elsewhere", dir / "link");
  std::filesystem::create_directory(dir / "folder");
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  for (const char* name : {"link", "folder", "pipe"}) {
    Log log(0, LogLevel::quiet, nullptr);
    EXPECT_THROW(log.open_file(dir / name), Error) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(dir / "elsewhere"));
}

}  // namespace
}  // namespace wan
