#include "batch/output_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "support/temp_dir.h"

namespace wan::batch {
namespace {

using testing::HasSubstr;

/// Whether file_system_shim plays something; "flock" and the like.
bool is_played(const std::string& word) {
  const char* played = std::getenv("WAN_PLAYED");  // NOLINT(concurrency-mt-unsafe)
  return played != nullptr && std::string(played).starts_with(word);
}

TEST(OutputProbe, FindsWhatTheFileSystemLacksAndLeavesNothing) {
  const test::TempDir dir;
  const OutputProbe probe = probe_output_folder(dir / "out", "--output-dir");
  EXPECT_EQ(probe.problem, "");
  EXPECT_EQ(probe.nearest, std::filesystem::absolute(dir.path()));
  EXPECT_EQ(probe.no_links.empty(), !is_played("link"));
  EXPECT_EQ(probe.no_locks.empty(), !is_played("flock"));
  EXPECT_EQ(probe.no_folder_flush.empty(), !is_played("dirsync"));
  EXPECT_GT(probe.free_bytes.value_or(0), 0U);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(OutputProbe, NamesWhatIsInTheWay) {
  for (const std::string name : {"wan_batch.log", "run.json", ".claims", ".state"}) {
    for (const bool is_pipe : {false, true}) {
      const test::TempDir dir;
      std::filesystem::create_directory(dir / "elsewhere");
      if (is_pipe) {
        ASSERT_EQ(::mkfifo((dir / name).c_str(), 0600), 0);
      } else {
        std::filesystem::create_symlink(dir / "elsewhere", dir / name);
      }
      const OutputProbe probe = probe_output_folder(dir.path(), "--output-dir");
      EXPECT_THAT(probe.problem, HasSubstr(name + " is in the way of"));
      EXPECT_THAT(probe.problem, HasSubstr(is_pipe ? "a named pipe" : "a symbolic link"));
    }
  }
}

TEST(OutputProbe, AFolderThatCannotBe) {
  const test::TempDir dir;
  std::ofstream(dir / "file") << "in the way";
  EXPECT_THAT(probe_output_folder(dir / "file" / "out", "--output-dir").problem,
              HasSubstr("is not a folder"));
}

}  // namespace
}  // namespace wan::batch
