#include "sample/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "sample/sampler.h"

namespace wan::sample {
namespace {

int high_noise_steps(Solver solver, int steps, double shift, double boundary) {
  const Schedule schedule = make_schedule(solver, steps, shift);
  return static_cast<int>(std::ranges::count_if(schedule.timesteps, [&](float timestep) {
    return expert_for(timestep, boundary) == Expert::high_noise;
  }));
}

TEST(Schedule, WorkedValues) {
  const Schedule unipc = make_schedule(Solver::unipc, 40, 5);
  const std::vector<float> expected{999, 994, 989, 983, 978, 972, 965, 959, 952, 944, 937, 929, 920, 911,
                                    902, 892, 882, 870, 859, 846, 833, 818, 803, 786, 768, 749, 728, 706,
                                    681, 654, 624, 591, 555, 514, 468, 416, 356, 288, 208, 113};
  EXPECT_EQ(unipc.timesteps, expected);
  EXPECT_EQ(unipc.sigmas[0], 0.999799848F);
  EXPECT_EQ(unipc.sigmas[39], 0.113533050F);
  const Schedule dpm = make_schedule(Solver::dpmpp, 4, 5);
  EXPECT_EQ(dpm.timesteps, (std::vector<float>{1000, 937, 833, 625}));
  EXPECT_EQ(dpm.sigmas[0], 1.0F);
}

struct LightningCase {
  int steps;
  double shift;
  std::vector<float> timesteps, sigmas;
  int i2v, t2v;  ///< steps of the high-noise expert
};
class LightningGrid : public testing::TestWithParam<LightningCase> {};

TEST_P(LightningGrid, TimestepsAndSigmasToTheBit) {
  const LightningCase& c = GetParam();
  const Schedule schedule = make_schedule(Solver::euler, c.steps, c.shift);
  EXPECT_EQ(schedule.timesteps, c.timesteps);
  EXPECT_EQ(schedule.sigmas, c.sigmas);
  EXPECT_EQ(high_noise_steps(Solver::euler, c.steps, c.shift, 0.9), c.i2v);
  EXPECT_EQ(high_noise_steps(Solver::euler, c.steps, c.shift, 0.875), c.t2v);
}

INSTANTIATE_TEST_SUITE_P(
    Table67, LightningGrid,
    testing::Values(
        LightningCase{4, 5, {1000, 937.5F, 833.333313F, 625}, {1, .9375F, .833333313F, .625F, 0}, 2, 2},
        LightningCase{4, 3, {1000, 900, 750, 500}, {1, .899999976F, .75F, .5F, 0}, 2, 2},
        LightningCase{
            4, 8, {1000, 960, 888.888916F, 727.272766F}, {1, .959999979F, .888888896F, .727272749F, 0}, 2, 3},
        LightningCase{6,
                      5,
                      {1000, 961.538513F, 909.090942F, 833.333313F, 714.285645F, 500},
                      {1, .961538494F, .909090936F, .833333313F, .714285672F, .5F, 0},
                      3,
                      3},
        LightningCase{8,
                      5,
                      {1000, 972.222229F, 937.5F, 892.857117F, 833.333313F, 750, 625, 416.666656F},
                      {1, .972222209F, .9375F, .892857134F, .833333313F, .75F, .625F, .416666657F, 0},
                      3,
                      4}));

/// The sigma of step 1 lies below the boundary, but its timestep rounds to the boundary and belongs to the
/// high-noise expert.
TEST(LightningGrid, TheTimestepChoosesTheExpertNotTheSigma) {
  const Schedule schedule = make_schedule(Solver::euler, 4, 3);
  EXPECT_LT(schedule.sigmas[1], 0.9);
  EXPECT_EQ(expert_for(schedule.timesteps[1], 0.9), Expert::high_noise);
}

TEST(Schedule, AFractionBelowTheBoundaryIsLowNoise) {
  EXPECT_EQ(expert_for(899.99994F, 0.9), Expert::low_noise);
  EXPECT_EQ(expert_for(900.5F, 0.9005), Expert::high_noise);
  EXPECT_EQ(expert_for(900.5F, 0.9006), Expert::low_noise);
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

TEST(ExpertSwitch, TheSettingsTellTheExpertOfEachStepAndWhereItChanges) {
  const SamplerSettings two{
      .solver = Solver::euler, .steps = 4, .shift = 5, .boundary = 0.9, .guide_scale = {}};
  EXPECT_EQ(expert_of_step(1, two), Expert::high_noise);
  EXPECT_EQ(expert_of_step(2, two), Expert::low_noise);
  EXPECT_EQ(expert_of_step(4, two), Expert::low_noise) << "after the last step";
  EXPECT_EQ(first_step_without(Expert::high_noise, two), 2);
  EXPECT_EQ(first_step_without(Expert::low_noise, two), 0);
  EXPECT_EQ(first_step_without(Expert::low_noise, two, 2), 4);
  const SamplerSettings one{
      .solver = Solver::euler, .steps = 4, .shift = 5, .boundary = {}, .guide_scale = {}};
  EXPECT_EQ(expert_of_step(0, one), Expert::single);
  EXPECT_EQ(first_step_without(Expert::single, one), 4) << "none";
}

}  // namespace
}  // namespace wan::sample
