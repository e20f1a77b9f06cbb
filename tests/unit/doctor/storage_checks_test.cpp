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
  StorageFacts facts{.folder = "out", .probe = {}};
  facts.probe.free_bytes = 100'000 * mib;
  EXPECT_TRUE(test::all_ok(check_storage(facts)));
  facts.probe.free_bytes = 1000 * mib;
  EXPECT_EQ(verdict_of(check_storage(facts), "disk space"), Verdict::warn);
  facts.probe.free_bytes = mib;
  EXPECT_EQ(verdict_of(check_storage(facts), "disk space"), Verdict::fail);
  for (std::string store::OutputProbe::*lack :
       {&store::OutputProbe::no_links, &store::OutputProbe::no_locks, &store::OutputProbe::no_folder_flush}) {
    StorageFacts lacking = facts;
    lacking.probe.*lack = "Operation not permitted";
    EXPECT_EQ(verdict_of(check_storage(lacking), "output folder"), Verdict::warn);
    EXPECT_TRUE(test::has_remedies(check_storage(lacking)));
  }
  facts.probe.problem = "cannot write to the folder out";
  EXPECT_EQ(verdict_of(check_storage(facts), "output folder"), Verdict::fail);
  EXPECT_TRUE(test::has_remedies(check_storage(facts)));
}

TEST(StorageChecks, AFolderThatIsNotThereYetIsJudgedByTheOneAboveIt) {
  const wan::test::TempDir folder;
  const StorageFacts facts = gather_storage(folder / "a/b");
  EXPECT_EQ(facts.probe.nearest, std::filesystem::absolute(folder.path()));
  EXPECT_EQ(facts.probe.problem, "");
  EXPECT_EQ(facts.probe.no_links, "");
  EXPECT_GT(facts.probe.free_bytes.value_or(0), 0U);
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
