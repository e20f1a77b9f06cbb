#include "sample/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace wan::sample {
namespace {

int high_noise_steps(Solver solver, int steps, double shift, double boundary) {
  const Schedule schedule = make_schedule(solver, steps, shift);
  return static_cast<int>(std::ranges::count_if(schedule.timesteps, [&](int timestep) {
    return expert_for(timestep, boundary) == Expert::high_noise;
  }));
}

TEST(Schedule, WorkedValues) {
  const Schedule unipc = make_schedule(Solver::unipc, 40, 5);
  const std::vector<int> expected{999, 994, 989, 983, 978, 972, 965, 959, 952, 944, 937, 929, 920, 911,
                                  902, 892, 882, 870, 859, 846, 833, 818, 803, 786, 768, 749, 728, 706,
                                  681, 654, 624, 591, 555, 514, 468, 416, 356, 288, 208, 113};
  EXPECT_EQ(unipc.timesteps, expected);
  EXPECT_EQ(unipc.sigmas[0], 0.999799848F);
  EXPECT_EQ(unipc.sigmas[39], 0.113533050F);
  const Schedule dpm = make_schedule(Solver::dpmpp, 4, 5);
  EXPECT_EQ(dpm.timesteps, (std::vector<int>{1000, 937, 833, 625}));
  EXPECT_EQ(dpm.sigmas[0], 1.0F);
}

struct ExpertCase {
  int steps;
  double shift, boundary;
  int unipc, dpmpp;
};
class ExpertSwitch : public testing::TestWithParam<ExpertCase> {};

TEST_P(ExpertSwitch, HighNoiseStepsAsTabulated) {
  const ExpertCase& c = GetParam();
  EXPECT_EQ(high_noise_steps(Solver::unipc, c.steps, c.shift, c.boundary), c.unipc);
  EXPECT_EQ(high_noise_steps(Solver::dpmpp, c.steps, c.shift, c.boundary), c.dpmpp);
}

INSTANTIATE_TEST_SUITE_P(Table62, ExpertSwitch,
                         testing::Values(ExpertCase{4, 3, 0.9, 1, 2}, ExpertCase{8, 3, 0.9, 2, 3},
                                         ExpertCase{20, 3, 0.9, 5, 6}, ExpertCase{40, 3, 0.9, 10, 11},
                                         ExpertCase{40, 5, 0.9, 15, 15}, ExpertCase{30, 8, 0.875, 16, 17},
                                         ExpertCase{40, 12, 0.875, 26, 26}, ExpertCase{50, 12, 0.875, 32, 32},
                                         ExpertCase{6, 5, 0.875, 3, 3}));

}  // namespace
}  // namespace wan::sample
