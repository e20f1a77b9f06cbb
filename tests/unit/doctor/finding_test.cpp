#include "doctor/finding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "wan/error.h"

namespace wan::doctor {
namespace {

using ::testing::HasSubstr;

TEST(Findings, OfSeveralRanksAreMergedWhereTheyAreTheSame) {
  const Finding same = ok("MPI", "4.1");
  const Finding odd = warn("stack", "1 MiB", "ulimit -s 8192");
  const std::vector<std::vector<Finding>> by_rank{{same}, {same, odd}, {same}, {same, odd}, {same, odd}};
  const std::vector<Finding> merged = merge(by_rank);
  ASSERT_EQ(merged.size(), 2U);
  EXPECT_EQ(merged[0].ranks, (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_EQ(merged[1].ranks, (std::vector<int>{1, 3, 4}));
  const std::string text = table(merged, 5);
  EXPECT_THAT(text, HasSubstr("OK    MPI    4.1\n"));
  EXPECT_THAT(text, HasSubstr("WARN  stack  1 MiB (ranks 1, 3-4)\n"));
  EXPECT_THAT(text, HasSubstr("-> ulimit -s 8192\n"));
  EXPECT_THAT(text, HasSubstr("2 checks: 1 OK, 1 WARN, 0 FAIL\n"));
}

TEST(Findings, LinesOfOneStandBelowEachOther) {
  const std::string text =
      table(std::vector{bad("folder", "lacks:\n  a\n  b", "fetch it"), ok("MPI", "4.1")}, 1);
  EXPECT_THAT(
      text,
      HasSubstr("FAIL  folder  lacks:\n                a\n                b\n              -> fetch it\n"));
}

TEST(Findings, TravelAsJson) {
  const std::vector<Finding> findings{ok("a", "b\n\"c\""), warn("d", "e", "f"), bad("g", "h", "i")};
  EXPECT_EQ(from_json(to_json(findings)), findings);
  EXPECT_NO_THROW(from_json(to_json(std::vector{ok("bytes", "\xff")})));
  for (const char* text : {"", "{", "[1]", R"([{"check":"a"}])",
                           R"([{"check":"a","verdict":"NO","found":"","remedy":"","ranks":[]}])"})
    EXPECT_THROW(from_json(text), Error) << text;
  const auto report = nlohmann::json::parse(report_json(findings, 2));
  EXPECT_EQ(report["fail"], 1);
  EXPECT_EQ(report["findings"][2]["verdict"], "FAIL");
}

TEST(Findings, Bytes) {
  EXPECT_EQ(bytes_text(17), "17 B");
  EXPECT_EQ(bytes_text(std::uint64_t{48} << 30), "48.0 GiB");
}

}  // namespace
}  // namespace wan::doctor
