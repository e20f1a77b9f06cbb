#include "core/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <fstream>

#include "core/awake_clock.h"
#include "core/checksum.h"
#include "support/temp_dir.h"
#include "wan/error.h"

namespace wan {
namespace {

TEST(WriteErrors, TellStorageThatFailsFromOtherReasons) {
  EXPECT_THROW(fail_to_write("write", "out/a.mp4", ENOSPC), StorageError);
  EXPECT_THROW(fail_to_write("write", "out/a.mp4", EDQUOT), StorageError);
  EXPECT_THROW(fail_to_write("flush", "out/a.mp4", ESTALE), StorageError);
  try {
    fail_to_write("rename", "out/a.mp4", EISDIR);
  } catch (const Error& error) {
    EXPECT_EQ(dynamic_cast<const StorageError*>(&error), nullptr);
    EXPECT_STREQ(error.what(), "cannot rename out/a.mp4: Is a directory");
  }
}

TEST(AwakeClock, LeavesOutPausesInWhichTheProcessWasAway) {
  using std::chrono::milliseconds;
  AwakeClock clock(1);
  auto now = AwakeClock::Clock::now();
  clock.elapsed_s_at(now);
  const double begin_s = clock.elapsed_s_at(now);
  for (int i = 0; i < 10; ++i) clock.elapsed_s_at(now += milliseconds(500));
  EXPECT_NEAR(clock.elapsed_s_at(now) - begin_s, 5, 1e-6);
  clock.elapsed_s_at(now += std::chrono::seconds(66));
  EXPECT_NEAR(clock.elapsed_s_at(now += milliseconds(500)) - begin_s, 5.5, 1e-6);
}

TEST(File, AtomicWriteReplacesAndLeavesNothingElse) {
  const test::TempDir dir;
  write_file_atomically(dir / "a.json", "one");
  write_file_atomically(dir / "a.json", "two");
  EXPECT_EQ(read_text_file(dir / "a.json", 100), "two");
  int entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir.path())) ++entries;
  EXPECT_EQ(entries, 1);
}

TEST(File, ModesFollowTheUmask) {
  const test::TempDir dir;
  const mode_t before = ::umask(002);
  write_file_atomically(dir / "shared", "text");
  ::umask(before);
  struct stat status {};
  ASSERT_EQ(::stat((dir / "shared").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0664U);
}

TEST(File, RefusesPipesAndFolders) {
  const test::TempDir dir;
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  EXPECT_THROW(open_regular_file(dir / "pipe"), Error);
  EXPECT_THROW(open_regular_file(dir.path()), Error);
}

TEST(File, ReadPastTheEndNamesTheOffset) {
  const test::TempDir dir;
  write_file_atomically(dir / "short", "abc");
  const UniqueFd file = open_regular_file(dir / "short");
  std::array<std::byte, 8> bytes{};
  try {
    read_at(file, dir / "short", 1, bytes);
    FAIL() << "read past the end";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("8 bytes expected at byte 1, 2 found"), std::string::npos)
        << error.what();
  }
}

TEST(Checksum, MatchesTheStandardVector) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const test::TempDir dir;
  write_file_atomically(dir / "f", "abc");
  EXPECT_EQ(sha256_file_hex(dir / "f"), sha256_hex("abc"));
}

}  // namespace
}  // namespace wan
