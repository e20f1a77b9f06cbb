// Wan2.2-Lightning's sampler on the parity case lightning_i2v: two experts with LoRAs, 4 steps of Euler
// without guidance. The checkpoint with merged weights was written by merge_loras.py (a ctest of its own).
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "dit/patchify.h"
#include "model/guidance.h"
#include "mpi/engine_fixture.h"
#include "sample/schedule.h"
#include "sample/solver.h"

namespace wan {
namespace {

constexpr double reference_tolerance = 1e-4;  // of the last latent, in any layout
constexpr double stage_tolerance = 1e-5;      // of what one stage makes of the reference's own input
constexpr double layout_tolerance = 1e-5;     // compared with one rank of this program

test::ParityCase lightning_case() { return test::load_parity_case("lightning_i2v"); }

std::filesystem::path merged_checkpoint() {
  const std::filesystem::path folder = WAN_MERGED_LIGHTNING;
  if (!std::filesystem::exists(folder / "low_noise_model")) {
    ADD_FAILURE() << folder << " is not there; ctest's test merge_lightning_loras makes it";
  }
  return folder;
}

TEST(LightningCase, HasThePartsThatItsNumbersDependOn) {
  const test::ParityCase parity = lightning_case();
  EXPECT_EQ(parity.request.solver, Solver::euler);
  EXPECT_EQ(parity.request.sample_steps, 4);
  EXPECT_EQ(parity.request.sample_shift, 5);
  EXPECT_FALSE(model::is_guided(parity.request.guide_scale));
  for (int step = 0; step < 4; ++step)
    EXPECT_FALSE(parity.has("step." + std::to_string(step) + ".uncond")) << "one call in each step";
}

TEST(LightningCase, NoiseIsThatOfTheCpuGenerator) {
  const test::ParityCase parity = lightning_case();
  const at::Tensor noise = parity.tensor("noise");
  EXPECT_TRUE(at::equal(
      at::randn(noise.sizes(), at::detail::createCPUGenerator(parity.request.seed), at::kFloat), noise));
}

TEST(LightningCase, ScheduleAndStepsAreTheReferencesToTheBit) {
  const test::ParityCase parity = lightning_case();
  const Request& request = parity.request;
  const sample::Schedule schedule =
      sample::make_schedule(request.solver, request.sample_steps, request.sample_shift);
  EXPECT_TRUE(at::equal(at::tensor(schedule.timesteps), parity.tensor("timesteps")));
  EXPECT_TRUE(at::equal(at::tensor(schedule.sigmas), parity.tensor("sigmas")));
  const auto solver = sample::make_solver(request.solver, schedule);
  at::Tensor x = parity.tensor("noise");
  for (int step = 0; step < request.sample_steps; ++step) {
    const std::string name = "step." + std::to_string(step);
    const at::Tensor made = solver->step(step, x, parity.tensor(name + ".cond"));
    x = parity.tensor(name + ".latent");
    EXPECT_TRUE(at::equal(made, x)) << name;
  }
}

/// Each step of the denoiser from the reference's latent before it.
TEST(LightningCase, PredictionsAndLatentsOfEachStep) {
  const test::ParityCase parity = lightning_case();
  const Request& request = parity.request;
  const auto folder = checkpoint::inspect_checkpoint(merged_checkpoint());
  const auto high_noise = engine::open_expert(folder.experts.front().path);
  const auto low_noise = engine::open_expert(folder.experts.back().path);
  auto alone = test::lone_communicators();
  engine::Denoiser stage({engine::expert_model(Expert::high_noise, high_noise),
                          engine::expert_model(Expert::low_noise, low_noise)},
                         {}, alone);
  const at::Tensor noise = parity.tensor("noise");  // [16, frames, height, width]
  const kernels::TokenGrid grid = dit::token_grid(noise.size(1), noise.size(2), noise.size(3));
  at::Tensor mask = at::zeros({4, noise.size(1), noise.size(2), noise.size(3)});
  mask.select(1, 0).fill_(1);
  engine::DenoiseInput input{.start = {.steps_done = 0, .latent = noise.clone(), .history = {}},
                             .condition = at::cat({mask, parity.tensor("vae.encoded")}, 0),
                             .context = parity.tensor("text.context"),
                             .negative_context = {},
                             .settings = {.solver = request.solver,
                                          .steps = request.sample_steps,
                                          .shift = request.sample_shift,
                                          .boundary = request.boundary,
                                          .guide_scale = request.guide_scale}};
  stage.reserve();
  for (int first = 0; first < request.sample_steps; ++first) {
    if (first > 0) {
      input.start.steps_done = first;
      input.start.latent = parity.tensor("step." + std::to_string(first - 1) + ".latent").clone();
    }
    bool is_first = true;
    stage.run(input, alone,
              [&](const sample::StepRequest& step, const sample::Prediction& prediction,
                  const at::Tensor& local_tokens, const engine::StepTimes&) {
                if (!std::exchange(is_first, false)) return;
                const std::string name = "step." + std::to_string(first);
                SCOPED_TRACE(name);
                EXPECT_EQ(step.timestep, parity.tensor("timesteps")[first].item<float>());
                EXPECT_EQ(step.expert, first < 2 ? Expert::high_noise : Expert::low_noise);
                EXPECT_FALSE(prediction.unconditional.defined());
                const auto error = [&](const at::Tensor& tokens, const char* what) {
                  return test::relative_error(dit::unpatchify(tokens, grid), parity.tensor(name + what));
                };
                EXPECT_LT(error(prediction.conditional, ".cond"), stage_tolerance);
                EXPECT_LT(error(local_tokens, ".latent"), stage_tolerance);
              });
  }
}

TEST(LightningCase, EveryLayoutGivesTheReferencesNumbers) {
  test::RankWorld ranks;
  const test::ParityCase parity = lightning_case();
  const auto folder = checkpoint::inspect_checkpoint(merged_checkpoint());
  const test::Made alone = test::make_alone(folder, parity.request);
  test::in_every_layout(ranks, folder, parity.request, {}, [&](const test::Made& made) {
    EXPECT_LT(test::relative_error(made.latent, parity.final_latent()), reference_tolerance);
    EXPECT_LT(test::relative_error(made.latent, alone.latent), layout_tolerance);
  });
}

/// Without the LoRAs the numbers are others: the test above can fail.
TEST(LightningCase, TheBaseWeightsGiveOtherNumbers) {
  const test::ParityCase parity = lightning_case();
  const test::Made base =
      test::make_alone(checkpoint::inspect_checkpoint(parity.folder / "ckpt"), parity.request);
  EXPECT_GT(test::relative_error(base.latent, parity.final_latent()), 0.01);
}

}  // namespace
}  // namespace wan
