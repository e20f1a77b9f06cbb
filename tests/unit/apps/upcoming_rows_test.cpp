#include "apps/upcoming_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace wan::apps {
namespace {

using testing::ElementsAre;

std::vector<manifest::ManifestRow> rows_named(const std::vector<std::string>& ids) {
  std::vector<manifest::ManifestRow> rows;
  for (const std::string& id : ids) {
    manifest::ManifestRow row;
    row.index = std::ssize(rows);
    row.id = id;
    rows.push_back(row);
  }
  return rows;
}

struct Visited {
  std::vector<std::string> operator()(const std::vector<manifest::ManifestRow>& rows, const std::string& now,
                                      std::size_t most = 100) const {
    std::vector<std::string> ids;
    visit_rows_after(
        rows, now, [this](const manifest::ManifestRow& row) { return row.id.starts_with(settled); },
        [&](const manifest::ManifestRow& row) {
          ids.push_back(row.id);
          return ids.size() < most;
        });
    return ids;
  }
  std::string settled = "done";
};

TEST(UpcomingRows, ThoseBehindComeFirstThenThoseBefore) {
  EXPECT_THAT(Visited()(rows_named({"a", "b", "c", "d"}), "b"), ElementsAre("c", "d", "a"));
}

TEST(UpcomingRows, SettledAndBadRowsAreLeftOut) {
  auto rows = rows_named({"done1", "a", "done2", "bad", "b"});
  rows[3].error = "line 5: no prompt";
  EXPECT_THAT(Visited()(rows, "a"), ElementsAre("b"));
}

TEST(UpcomingRows, EndWhereTheVisitorHasEnough) {
  EXPECT_THAT(Visited()(rows_named({"a", "b", "c", "d"}), "a", 2), ElementsAre("b", "c"));
}

TEST(UpcomingRows, AnIdOfNoRowBeginsAtTheTop) {
  EXPECT_THAT(Visited()(rows_named({"a", "b"}), "single request"), ElementsAre("a", "b"));
  EXPECT_THAT(Visited()({}, "a"), ElementsAre());
}

TEST(UpcomingRows, ASlowFileSystemIsAskedForSoLongOnly) {
  int asked = 0;
  const auto rows = rows_named(std::vector<std::string>(1000, "row"));
  visit_rows_after(
      rows, "now",
      [&](const manifest::ManifestRow& /*row*/) {
        ++asked;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        return true;
      },
      [](const manifest::ManifestRow& /*row*/) { return true; }, /*budget_s=*/0.05);
  EXPECT_LT(asked, 50);
}

}  // namespace
}  // namespace wan::apps
