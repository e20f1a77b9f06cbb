#include "manifest/chosen_ids.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wan::manifest {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ChosenIds, AreOneOnEachLine) {
  EXPECT_THAT(chosen_ids("\xEF\xBB\xBF"
                         "one\r\n\n  two words \nthree",
                         "pick.txt", TaskKind::t2v),
              ElementsAre("one", "two words", "three"));
  EXPECT_THAT(message_of([] { chosen_ids("one\n../two\n", "pick.txt", TaskKind::t2v); }),
              HasSubstr("pick.txt: line 2: id '../two'"));
  for (const char* nothing : {"", "\n \n"}) {
    EXPECT_THAT(message_of([&] { chosen_ids(nothing, "pick.txt", TaskKind::t2v); }),
                HasSubstr("holds no id"));
  }
}

TEST(ChosenIds, MayBeThoseOfAManifest) {
  const auto ids = chosen_ids("id,prompt\na,cat\n,dog\n", "pick.csv", TaskKind::t2v);
  const auto rows = parse_manifest("id,prompt\n,dog\na,cat\nb,cow\n", "all.csv", TaskKind::t2v);
  ASSERT_EQ(ids.size(), 2U);
  EXPECT_EQ(ids[0], "a");
  EXPECT_EQ(ids[1], rows[0].id) << "an id that the values give does not depend on the other rows";
}

TEST(ChosenIds, KeepTheRowsPlacesInTheWholeManifest) {
  auto rows = parse_manifest("id,prompt\na,cat\nb,dog\nc,cow\n", "all.csv", TaskKind::t2v);
  keep_chosen(rows, {"c", "a", "c"}, "pick.txt");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].id, "a");
  EXPECT_EQ(rows[1].id, "c");
  EXPECT_EQ(rows[1].index, 2) << "its automatic seed stays";
  EXPECT_THAT(message_of([&] {
                keep_chosen(rows, {"a", "x", "y", "z", "w"}, "pick.txt");
              }),
              HasSubstr("pick.txt: no row of the manifest has the id 'w', 'x', 'y' and 1 more"));
}

}  // namespace
}  // namespace wan::manifest
