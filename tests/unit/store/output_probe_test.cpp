#include "store/output_probe.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <ctime>
#include <fstream>

#include "store/output_folder.h"
#include "support/temp_dir.h"

namespace wan::store {
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

/// As if it had been made that long ago.
void age(const std::filesystem::path& path, std::time_t age_s) {
  const timespec then{.tv_sec = std::time(nullptr) - age_s, .tv_nsec = 0};
  const std::array<timespec, 2> times{then, then};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times.data(), 0), 0);
}

TEST(OutputProbe, RemovesWhatProbesThatWereKilledLeftAndNothingElse) {
  const test::TempDir dir;
  const std::string token(32, 'a');
  const std::filesystem::path old_file = dir / hidden_name("probe", token, "tmp");
  const std::filesystem::path old_folder = dir / hidden_name("probe", std::string(32, 'b'), "tmp");
  const std::filesystem::path new_file = dir / hidden_name("probe", std::string(32, 'c'), "tmp");
  const std::filesystem::path others = dir / ("." + token + ".probe");
  const std::filesystem::path output = dir / hidden_name("item", token, "mp4");
  std::filesystem::create_directory(old_folder);
  for (const auto& file : {old_file, new_file, others, output}) std::ofstream(file) << "x";
  for (const auto& path : {old_file, old_folder, others, output}) age(path, 7200);
  for (const auto& folder : {dir.path(), dir / "not_there"}) {  // the second is tried in the folder above it
    EXPECT_EQ(probe_output_folder(folder, "--output-dir").problem, "");
    EXPECT_FALSE(std::filesystem::exists(old_file));
    EXPECT_FALSE(std::filesystem::exists(old_folder));
    for (const auto& kept : {new_file, others, output}) EXPECT_TRUE(std::filesystem::exists(kept)) << kept;
    std::ofstream(old_file) << "x";
    age(old_file, 7200);
  }
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
}  // namespace wan::store
