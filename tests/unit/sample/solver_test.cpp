#include "sample/solver.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "sample/sampler.h"
#include "wan/error.h"

namespace wan::sample {
namespace {

using nlohmann::json;

at::Tensor to_tensor(const json& values) {
  return at::tensor(values.get<std::vector<float>>(), at::TensorOptions().dtype(at::kFloat));
}

/// The analytic model of the reference trajectories.
at::Tensor toy_velocity(const at::Tensor& x, double timestep) {
  return x * 0.7 + at::sin(x * 2 + timestep / 300.0);
}

TEST(Solvers, FollowAllReferenceTrajectories) {
  std::ifstream file(WAN_TEST_DATA "/parity/scheduler_cases.json");
  const json data = json::parse(file);
  ASSERT_EQ(data["cases"].size(), 24U);
  for (const json& c : data["cases"]) {
    const auto solver = parse_solver(c["solver"].get<std::string>());
    ASSERT_TRUE(solver.has_value());
    const Schedule schedule = make_schedule(*solver, c["steps"], c["shift"]);
    SCOPED_TRACE(c["solver"].get<std::string>() + " " + c["steps"].dump() + " shift " + c["shift"].dump());
    EXPECT_EQ(schedule.timesteps, c["timesteps"].get<std::vector<float>>());
    EXPECT_EQ(schedule.sigmas, c["sigmas"].get<std::vector<float>>());
    const auto stepper = make_solver(*solver, schedule);
    at::Tensor x = to_tensor(c["x0"]);
    for (int i = 0; i < schedule.steps(); ++i) {
      x = stepper->step(i, x, toy_velocity(x, schedule.timesteps[i]));
      const at::Tensor expected = to_tensor(c["trajectory"][i]);
      const auto error = ((x - expected).norm() / expected.norm()).item<double>();
      ASSERT_LT(error, 1e-5) << "step " << i;
    }
  }
}

/// The fractional grid of distilled models, and more steps and shifts of the other solvers.
TEST(Solvers, FollowTheReferenceTrajectoriesOfDistilledModels) {
  std::ifstream file(WAN_TEST_DATA "/parity/scheduler_cases_2.json");
  const json data = json::parse(file);
  ASSERT_EQ(data["cases"].size(), 37U);
  for (const json& c : data["cases"]) {
    const Solver solver = *parse_solver(c["solver"].get<std::string>());
    const Schedule schedule = make_schedule(solver, c["steps"], c["shift"]);
    SCOPED_TRACE(c["solver"].get<std::string>() + " " + c["steps"].dump() + " shift " + c["shift"].dump());
    EXPECT_EQ(schedule.timesteps, c["timesteps"].get<std::vector<float>>());
    EXPECT_EQ(schedule.sigmas, c["sigmas"].get<std::vector<float>>());
    for (const auto& [boundary, model] : {std::pair(0.9, "i2v"), std::pair(0.875, "t2v")}) {
      const auto high = std::ranges::count_if(schedule.timesteps, [limit = boundary](float t) {
        return expert_for(t, limit) == Expert::high_noise;
      });
      EXPECT_EQ(high, c["high_noise_steps"][model].get<int>()) << model;
    }
    const auto stepper = make_solver(solver, schedule);
    at::Tensor x = to_tensor(c["x0"]);
    std::vector<at::Tensor> made;
    for (int i = 0; i < schedule.steps(); ++i) {
      x = stepper->step(i, x, toy_velocity(x, schedule.timesteps[i]));
      made.push_back(x);
    }
    const auto rows = static_cast<int>(c["trajectory"].size());  // the last ones
    for (int row = 0; row < rows; ++row) {
      const at::Tensor expected = to_tensor(c["trajectory"][row]);
      const at::Tensor& of_row = made[schedule.steps() - rows + row];
      const auto error = ((of_row - expected).norm() / expected.norm()).item<double>();
      ASSERT_LT(error, solver == Solver::euler ? 3e-7 : 1e-5) << "row " << row;
    }
  }
}

/// Each Euler step has the reference's bits where the velocity has.
TEST(Solvers, AnEulerStepIsOneProductAndOneSum) {
  const Schedule schedule = make_schedule(Solver::euler, 4, 5);
  const auto stepper = make_solver(Solver::euler, schedule);
  const at::Tensor x = at::randn({64});
  const at::Tensor velocity = at::randn({64});
  for (int i = 0; i < schedule.steps(); ++i) {
    const at::Tensor made = stepper->step(i, x, velocity);
    const float difference = schedule.sigmas[i + 1] - schedule.sigmas[i];
    for (int k = 0; k < 64; ++k) {
      const volatile float change = velocity[k].item<float>() * difference;
      ASSERT_EQ(made[k].item<float>(), x[k].item<float>() + change) << "step " << i;
    }
  }
}

TEST(Solvers, EachIntegratesAConstantFlowExactly) {
  for (const SolverRow& row : solver_rows()) {
    const Schedule schedule = make_schedule(row.solver, 7, 5);
    const auto stepper = make_solver(row.solver, schedule);
    const at::Tensor noise = at::randn({5});
    const at::Tensor velocity = at::randn({5});
    at::Tensor x = noise;
    for (int i = 0; i < schedule.steps(); ++i) x = stepper->step(i, x, velocity);
    EXPECT_TRUE(at::allclose(x, noise - velocity * schedule.sigmas[0], 1e-5, 1e-5)) << row.name;
  }
}

/// A model that knows the clean sample: every prediction of it is right, after each step and with each
/// solver.
TEST(Sampler, TheCleanSampleIsWhatTheLastStepPredicts) {
  const at::Tensor clean = at::randn({5});
  const at::Tensor noise = at::randn({5});
  for (const SolverRow& row : solver_rows()) {
    SamplerSettings settings{
        .solver = row.solver, .steps = 6, .shift = 5, .boundary = 0.9, .guide_scale = {1, 1}};
    const Denoiser denoise = [&](const at::Tensor&, const StepRequest&) {
      return Prediction{.conditional = noise - clean, .unconditional = {}};
    };
    const Schedule schedule = make_schedule(row.solver, 6, 5);
    const float first = schedule.sigmas[0];
    const at::Tensor start = clean * (1 - first) + noise * first;
    for (const int from : {0, 3}) {
      settings.clean_from = from;
      std::vector<int> has_clean;
      sample(settings, {.steps_done = 0, .x = start, .history = {}}, denoise, nullptr,
             [&](const SamplerState& state) {
               if (!state.clean.defined()) return true;
               has_clean.push_back(state.steps_done);
               EXPECT_TRUE(at::allclose(state.clean, clean, 1e-4, 1e-4)) << row.name << state.steps_done;
               EXPECT_FALSE(at::allclose(state.clean, state.x, 1e-2, 1e-2)) << "the noisy sample";
               return true;
             });
      EXPECT_EQ(has_clean, from == 0 ? std::vector<int>() : (std::vector<int>{3, 4, 5})) << row.name;
    }
  }
}

TEST(Sampler, GuidanceOneAsksForOnePassAndTheBoundarySwitchesScales) {
  const SamplerSettings settings{.solver = Solver::euler,
                                 .steps = 4,
                                 .shift = 5,
                                 .boundary = 0.9,
                                 .guide_scale = {.low_noise = 1, .high_noise = 2}};
  std::vector<bool> guided;
  const at::Tensor noise = at::zeros({2});
  const Denoiser denoise = [&](const at::Tensor& x, const StepRequest& step) {
    guided.push_back(step.guided);
    EXPECT_EQ(step.guided, step.expert == Expert::high_noise);
    return Prediction{.conditional = at::ones_like(x),
                      .unconditional = step.guided ? at::zeros_like(x) : at::Tensor()};
  };
  const Schedule schedule = make_schedule(Solver::euler, 4, 5);
  const at::Tensor x = sample(settings, {.steps_done = 0, .x = noise, .history = {}}, denoise, nullptr).x;
  EXPECT_EQ(guided, (std::vector<bool>{true, true, false, false}));
  // velocity is 2 under guidance 2 and 1 without
  const float expected = 2 * (schedule.sigmas[2] - schedule.sigmas[0]) - schedule.sigmas[2];
  EXPECT_NEAR(x[0].item<float>(), expected, 1e-6);
}

TEST(Sampler, KnowsWhereGuidanceBeginsAndEnds) {
  SamplerSettings settings{
      .solver = Solver::euler, .steps = 4, .shift = 5, .boundary = 0.9, .guide_scale = {}};
  for (const bool is_first_guided : {true, false}) {
    settings.guide_scale = is_first_guided ? GuideScale{.low_noise = 1, .high_noise = 2}
                                           : GuideScale{.low_noise = 2, .high_noise = 1};
    const std::vector<int> next{2, 2, 4, 4, 4};  // by the step before: 2 steps are each expert's
    for (int step = 0; step <= 4; ++step) {
      EXPECT_EQ(first_step_guided_otherwise(step, settings), next[static_cast<std::size_t>(step)]) << step;
      EXPECT_EQ(is_guided(step, settings), (step < 2) == is_first_guided) << step;
    }
  }
  settings.guide_scale = {.low_noise = 3, .high_noise = 2};
  EXPECT_EQ(first_step_guided_otherwise(0, settings), 4);
  settings.guide_scale = {.low_noise = 1, .high_noise = 1};
  EXPECT_EQ(first_step_guided_otherwise(0, settings), 4);
}

/// A denoiser whose result depends on sample and time, so that a misplaced step shows.
Prediction toy_prediction(const at::Tensor& x, const StepRequest& step) {
  const at::Tensor conditional = toy_velocity(x, step.timestep);
  return {.conditional = conditional, .unconditional = step.guided ? conditional * 0.5 : at::Tensor()};
}

TEST(Sampler, LeftAtAnyStepAndGoneOnFromTheStateGivesTheSameBits) {
  for (const SolverRow& row : solver_rows()) {
    const Solver solver = row.solver;
    for (const bool bf16_terms : {false, true}) {
      const SamplerSettings settings{.solver = solver,
                                     .steps = 7,
                                     .shift = 5,
                                     .boundary = 0.9,
                                     .guide_scale = {.low_noise = 3, .high_noise = 2},
                                     .bf16_terms = bf16_terms};
      const SamplerState start{.steps_done = 0, .x = at::randn({11}), .history = {}};
      const at::Tensor whole = sample(settings, start, toy_prediction, nullptr).x;
      for (int stop = 0; stop <= settings.steps; ++stop) {
        SCOPED_TRACE(std::string(to_string(solver)) + " left after step " + std::to_string(stop));
        SamplerState state = sample(settings, start, toy_prediction, nullptr,
                                    [&](const SamplerState& now) { return now.steps_done != stop; });
        EXPECT_EQ(state.steps_done, stop);
        EXPECT_TRUE(state.history.empty() || (stop != 0 && stop != settings.steps));
        EXPECT_LE(state.history.size(), max_history_tensors);
        for (const auto& [name, tensor] : state.history) EXPECT_TRUE(is_history_name(name)) << name;
        const SamplerState end = sample(settings, std::move(state), toy_prediction, nullptr);
        EXPECT_EQ(end.steps_done, settings.steps);
        EXPECT_TRUE(at::equal(end.x, whole));
      }
    }
  }
}

TEST(Sampler, KnowsTheExpertOfTheNextStepAndOfTheNextRun) {
  SamplerSettings settings{
      .solver = Solver::euler, .steps = 4, .shift = 5, .boundary = 0.9, .guide_scale = {1, 1}};
  const std::array after{Expert::high_noise, Expert::low_noise, Expert::low_noise, Expert::high_noise};
  for (int step = 0; step < 4; ++step) {
    EXPECT_EQ(expert_after(step, settings), after.at(static_cast<std::size_t>(step))) << step;
  }
  settings.steps = 1;
  EXPECT_EQ(expert_after(0, settings), Expert::high_noise) << "the only expert of such a run";
  settings.steps = 4;
  settings.boundary = std::nullopt;
  for (int step = 0; step < 4; ++step) EXPECT_EQ(expert_after(step, settings), Expert::single);
}

TEST(Sampler, KnownRowsArePutBackAndChangeNoOtherRow) {
  for (const SolverRow& row : solver_rows()) {
    SCOPED_TRACE(to_string(row.solver));
    SamplerSettings settings{.solver = row.solver,
                             .steps = 5,
                             .shift = 5,
                             .boundary = 0.9,
                             .guide_scale = {.low_noise = 3, .high_noise = 3},
                             .clean_from = 2};
    const at::Tensor noise = at::randn({5, 3});
    const at::Tensor without =
        sample(settings, {.steps_done = 0, .x = noise.clone(), .history = {}}, toy_prediction, nullptr).x;
    settings.known_rows = at::randn({2, 3});
    const auto is_known = [&](const at::Tensor& x) {
      return at::equal(x.narrow(0, 0, 2), settings.known_rows);
    };
    // A wild prediction for the known rows changes nothing else.
    const auto predict = [&](const at::Tensor& x, const StepRequest& step) {
      EXPECT_TRUE(is_known(x));
      Prediction prediction = toy_prediction(x, step);
      prediction.conditional.narrow(0, 0, 2).fill_(1e6);
      return prediction;
    };
    const SamplerState end = sample(
        settings, {.steps_done = 0, .x = noise.clone(), .history = {}}, predict,
        [&](const StepRequest&, const Prediction&, const at::Tensor& x) { EXPECT_TRUE(is_known(x)); },
        [&](const SamplerState& state) {
          EXPECT_TRUE(!state.clean.defined() || is_known(state.clean));
          return true;
        });
    EXPECT_TRUE(is_known(end.x));
    EXPECT_TRUE(at::equal(end.x.narrow(0, 2, 3), without.narrow(0, 2, 3)));
  }
}

TEST(Sampler, AStateThatLacksWhatTheSolverNeedsIsRefused) {
  const SamplerSettings settings{
      .solver = Solver::unipc, .steps = 4, .shift = 5, .boundary = 0.9, .guide_scale = {1, 1}};
  const at::Tensor x = at::zeros({2});
  EXPECT_THROW(
      sample(settings, {.steps_done = 2, .x = x, .history = {{"data_1", x}}}, toy_prediction, nullptr),
      Error);
  EXPECT_THROW(sample(settings, {.steps_done = 5, .x = x, .history = {}}, toy_prediction, nullptr), Error);
}

}  // namespace
}  // namespace wan::sample
