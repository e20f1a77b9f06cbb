#include "wan/request.h"

#include <gtest/gtest.h>

namespace wan {
namespace {

TEST(Request, NegativePromptHas27FullWidthCommas) {
  const std::string_view text = default_negative_prompt();
  int commas = 0;
  for (std::size_t at = text.find("，"); at != std::string_view::npos; at = text.find("，", at + 1)) ++commas;
  EXPECT_EQ(commas, 27);
}

TEST(Request, SolverNamesRoundTrip) {
  for (const SolverRow& row : solver_rows()) {
    EXPECT_EQ(parse_solver(row.name), row.solver);
    EXPECT_EQ(to_string(row.solver), row.name);
    EXPECT_NE(describe_solvers().find(std::string(row.name) + " (" + std::string(row.description) + ")"),
              std::string::npos);
  }
  EXPECT_EQ(parse_solver("magic"), std::nullopt);
}

}  // namespace
}  // namespace wan
