#include "doctor/storage_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "findings.h"
#include "support/temp_dir.h"

namespace wan::doctor {
namespace {

using test::verdict_of;
using test::worst_of;
using ::testing::HasSubstr;

constexpr std::uint64_t mib = std::uint64_t{1} << 20;

TEST(StorageChecks, GoodAndBadFacts) {
  StorageFacts facts{
      .folder = "out", .nearest = "/", .not_writable = {}, .no_links = {}, .free_bytes = 100'000 * mib};
  EXPECT_TRUE(test::all_ok(check_storage(facts)));
  facts.free_bytes = 1000 * mib;
  EXPECT_EQ(verdict_of(check_storage(facts), "disk space"), Verdict::warn);
  facts.free_bytes = mib;
  EXPECT_EQ(verdict_of(check_storage(facts), "disk space"), Verdict::fail);
  facts.no_links = "Operation not permitted";
  EXPECT_EQ(verdict_of(check_storage(facts), "output folder"), Verdict::fail);
  EXPECT_TRUE(test::has_remedies(check_storage(facts)));
  facts.not_writable = "cannot write to the folder out";
  EXPECT_EQ(check_storage(facts).size(), 1U);
  EXPECT_EQ(verdict_of(check_storage(facts), "output folder"), Verdict::fail);
}

TEST(StorageChecks, AFolderThatIsNotThereYetIsJudgedByTheOneAboveIt) {
  const wan::test::TempDir folder;
  const StorageFacts facts = gather_storage(folder / "a/b");
  EXPECT_EQ(facts.nearest, std::filesystem::absolute(folder.path()));
  EXPECT_EQ(facts.not_writable, "");
  EXPECT_EQ(facts.no_links, "");
  EXPECT_GT(facts.free_bytes, 0U);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << "nothing is left behind";
}

TEST(StorageChecks, BelowAFileNothingCanBeMade) {
  const wan::test::TempDir folder;
  std::ofstream(folder / "file") << "in the way";
  const std::vector<Finding> findings = check_storage(gather_storage(folder / "file" / "out"));
  EXPECT_EQ(verdict_of(findings, "output folder"), Verdict::fail);
  EXPECT_THAT(worst_of(findings, "output folder").found, HasSubstr("is not a folder"));
}

}  // namespace
}  // namespace wan::doctor
