#include "core/log.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

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
