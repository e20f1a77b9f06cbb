#include "store/stop_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "support/temp_dir.h"
#include "wan/error.h"

namespace wan::store {
namespace {

using ::testing::HasSubstr;

TEST(StopFileTest, AnythingOfThatNameCounts) {
  const test::TempDir dir;
  const std::filesystem::path file = stop_file(dir.path());
  EXPECT_EQ(file.filename(), "STOP");
  EXPECT_FALSE(has_stop_file(dir.path()));
  EXPECT_FALSE(has_stop_file(dir / "missing"));
  EXPECT_NO_THROW(require_no_stop_file(dir.path()));
  std::filesystem::create_symlink("nowhere", file);
  EXPECT_TRUE(has_stop_file(dir.path()));
  std::filesystem::remove(file);
  std::filesystem::create_directory(file);
  EXPECT_TRUE(has_stop_file(dir.path()));
  std::filesystem::remove(file);
  std::ofstream(file).close();
  EXPECT_TRUE(has_stop_file(dir.path()));
  try {
    require_no_stop_file(dir.path());
    ADD_FAILURE() << "no error";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr(file.string()));
    EXPECT_THAT(error.what(), HasSubstr("Remove that file to go on"));
  }
  EXPECT_TRUE(std::filesystem::exists(file)) << "it is the user's";
}

TEST(StopFileTest, TheWatchLooksOnceASecond) {
  const test::TempDir dir;
  double now_s = 0;
  StopFileWatch watch(dir.path(), [&] { return now_s; });
  EXPECT_FALSE(watch.has_seen_file());
  std::ofstream(stop_file(dir.path())).close();
  now_s = 0.99;
  EXPECT_FALSE(watch.has_seen_file());
  now_s = 1;
  EXPECT_TRUE(watch.has_seen_file());
  std::filesystem::remove(stop_file(dir.path()));
  now_s = 10;
  EXPECT_TRUE(watch.has_seen_file()) << "a stop that was asked for stands";
}

}  // namespace
}  // namespace wan::store
