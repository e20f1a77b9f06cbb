#include "core/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "core/checksum.h"
#include "support/temp_dir.h"
#include "wan/error.h"

namespace wan {
namespace {

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
    EXPECT_NE(std::string(error.what()).find("8 bytes wanted at byte 1, 2 there"), std::string::npos)
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
