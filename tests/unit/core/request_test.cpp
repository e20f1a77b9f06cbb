#include "wan/request.h"

#include <gtest/gtest.h>

namespace wan {
namespace {

TEST(Request, DefaultsAreTheTasksOwn) {
  const TaskDefaults i2v = default_parameters(TaskKind::i2v);
  EXPECT_EQ(i2v.sample_shift, 5.0);
  EXPECT_EQ(i2v.boundary, 0.9);
  EXPECT_EQ(i2v.guide_scale, (GuideScale{3.5, 3.5}));
  const TaskDefaults t2v = default_parameters(TaskKind::t2v);
  EXPECT_EQ(t2v.sample_shift, 12.0);
  EXPECT_EQ(t2v.boundary, 0.875);
  EXPECT_EQ(t2v.guide_scale, (GuideScale{3.0, 4.0}));
}

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
