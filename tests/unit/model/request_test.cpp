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
  for (const Solver solver : {Solver::unipc, Solver::dpmpp, Solver::euler})
    EXPECT_EQ(parse_solver(to_string(solver)), solver);
  EXPECT_EQ(parse_solver("ddim"), std::nullopt);
}

}  // namespace
}  // namespace wan
