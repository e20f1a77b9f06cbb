#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/denoiser.h"
#include "mpi/engine_fixture.h"
#include "parity/dit/transformer_fixture.h"
#include "sample/solver.h"

// The precision `bf16` on the CPU, held to what the official modules compute in bf16
// (tests/data/parity/README.md). Two right programs sum in different orders and so differ in some last bits;
// a program that leaves out one rounding differs in far more. The bounds lie between both: the figures are in
// analysis/results/exact_mutants.md.

namespace wan {
namespace {

constexpr const char* case_name = "i2v_landscape";

kernels::Compute bf16() { return {.device = at::kCPU, .type = at::kBFloat16}; }

std::map<std::string, at::Tensor> official_tensors() {
  return test::load_tensors(std::filesystem::path(WAN_TEST_DATA) / "parity" / case_name /
                            "exact.safetensors");
}

TEST(Exact, FirstSelfAttentionRoundsWhereTheOfficialCodeDoes) {
  test::Fixture fixture(case_name, {}, bf16());
  dit::TextCondition prompt(fixture.parity.tensor("text.context").to(at::kBFloat16));
  const std::vector<dit::TextCondition*> texts{&prompt};
  at::Tensor attended;  // [tokens, dim]
  fixture.forward(texts, [&](std::string_view name, const at::Tensor& value) {
    if (name == "blocks.0.self_attn") attended = value.clone();
  });
  const double share = test::equal_share(attended, official_tensors().at("blocks.0.self_attn"));
  RecordProperty("equal_share", std::to_string(share));
  EXPECT_GT(share, 0.75);
}

/// Denoiser's results for the case, on this rank alone.
struct Denoised {
  std::vector<at::Tensor> first_predictions;  ///< of step 0, [16, frames, height, width]
  at::Tensor latent;                          ///< after the last step
};

Denoised denoise(const test::ParityCase& parity) {
  const auto high_noise = engine::open_expert(parity.folder / "ckpt/high_noise_model");
  const auto low_noise = engine::open_expert(parity.folder / "ckpt/low_noise_model");
  auto alone = test::lone_communicators();
  engine::Denoiser stage({engine::expert_model(Expert::high_noise, high_noise),
                          engine::expert_model(Expert::low_noise, low_noise)},
                         {.compute = bf16()}, alone);
  const at::Tensor noise = parity.tensor("noise");
  at::Tensor mask = at::zeros({4, noise.size(1), noise.size(2), noise.size(3)});
  mask.select(1, 0).fill_(1);
  const Request& request = parity.request;
  const engine::DenoiseInput input{.start = {.steps_done = 0, .latent = noise, .history = {}},
                                   .condition = at::cat({mask, parity.tensor("vae.encoded")}, 0),
                                   .context = parity.tensor("text.context"),
                                   .negative_context = parity.tensor("text.negative_context"),
                                   .settings = {.solver = request.solver,
                                                .steps = request.sample_steps,
                                                .shift = request.sample_shift,
                                                .boundary = request.boundary,
                                                .guide_scale = request.guide_scale,
                                                .bf16_terms = true}};
  const kernels::TokenGrid grid = dit::token_grid(noise.size(1), noise.size(2), noise.size(3));
  Denoised result;
  stage.reserve();
  result.latent =
      stage.run(input, alone,
                [&](const sample::StepRequest& step, const sample::Prediction& prediction, const at::Tensor&,
                    const engine::StepTimes&) {
                  if (step.index > 0) return;
                  for (const at::Tensor& tokens : {prediction.conditional, prediction.unconditional})
                    result.first_predictions.push_back(dit::unpatchify(tokens, grid));
                });
  return result;
}

TEST(Exact, DenoiseStageComputesInBf16AsTheOfficialCodeDoes) {
  const test::ParityCase parity = test::load_parity_case(case_name);
  const auto official = official_tensors();
  const Denoised ours = denoise(parity);
  ASSERT_EQ(ours.first_predictions.size(), 2U);
  const double conditional = test::equal_share(ours.first_predictions[0], official.at("step.0.cond"));
  const double unconditional = test::equal_share(ours.first_predictions[1], official.at("step.0.uncond"));
  const double latent = test::relative_error(ours.latent, official.at("step.5.latent"));
  RecordProperty("conditional_share", std::to_string(conditional));
  RecordProperty("unconditional_share", std::to_string(unconditional));
  RecordProperty("latent_error", std::to_string(latent));
  EXPECT_GT(conditional, 0.5);
  EXPECT_GT(unconditional, 0.5);
  // Guidance enlarges the difference of the last bits in each step. After six steps, two correct programs
  // differ by this much.
  EXPECT_LT(latent, 1e-2);
}

struct UniPcSchedule {
  int steps;
  int shift;
};

class ExactUniPc : public testing::TestWithParam<UniPcSchedule> {};

TEST_P(ExactUniPc, TermsOfSecondOrderPassThroughBf16) {
  const auto official = official_tensors();
  const auto [steps, shift] = GetParam();
  const std::string name = fmt::format("unipc.{}.{}", steps, shift);
  const at::Tensor velocity = official.at(name + ".velocity");  // [steps, 64]
  const at::Tensor sample = official.at(name + ".sample");      // [steps, 64]
  const auto solver =
      sample::make_solver(Solver::unipc, sample::make_schedule(Solver::unipc, steps, shift), true);
  at::Tensor x = official.at("unipc.start");
  double largest = 0;
  for (int i = 0; i < steps; ++i) {
    x = solver->step(i, x, velocity[i]);
    largest = std::max(largest, test::relative_error(x, sample[i]));
  }
  RecordProperty("largest_error", fmt::format("{:.1e}", largest));
  EXPECT_LT(largest, 1e-5);
}

std::vector<UniPcSchedule> schedules() {
  std::vector<UniPcSchedule> result;
  for (const int shift : {3, 5, 12})
    for (const int steps : {1, 2, 3, 4, 20, 40}) result.push_back({.steps = steps, .shift = shift});
  return result;
}

INSTANTIATE_TEST_SUITE_P(Schedules, ExactUniPc, testing::ValuesIn(schedules()), [](const auto& instance) {
  return fmt::format("Steps{}Shift{}", instance.param.steps, instance.param.shift);
});

}  // namespace
}  // namespace wan
