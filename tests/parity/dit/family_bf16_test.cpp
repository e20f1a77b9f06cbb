#include <fmt/format.h>
#include <gtest/gtest.h>

#include "engine/denoiser.h"
#include "mpi/engine_fixture.h"

// The models with one expert in bf16 on the CPU, against the fp32 numbers of the official code. The official
// modules in bf16, with casts as in tests/data/parity/make_exact.py, end as far from these numbers as
// `official` says.

namespace wan {
namespace {

struct Bf16Case {
  const char* name;
  double official;  ///< relative error of the last latent
};

class FamilyInBf16 : public testing::TestWithParam<std::tuple<Bf16Case, const char*>> {};

TEST_P(FamilyInBf16, EndsAsNearAsTheOfficialCode) {
  const auto& [bf16_case, attention] = GetParam();
  const test::ParityCase parity = test::load_parity_case(bf16_case.name);
  const auto expert = engine::open_expert(parity.folder / "ckpt");
  auto alone = test::lone_communicators();
  engine::Denoiser stage({engine::expert_model(Expert::single, expert)},
                         {.compute = {.device = at::kCPU, .type = at::kBFloat16},
                          .attention = kernels::parse_attention_backend(attention)},
                         alone);
  const Request& request = parity.request;
  const at::Tensor noise = parity.tensor("noise");  // [channels, frames, height, width]
  engine::DenoiseInput input{.start = {.steps_done = 0, .latent = noise.clone(), .history = {}},
                             .condition = {},
                             .context = parity.tensor("text.context"),
                             .negative_context = parity.tensor("text.negative_context"),
                             .settings = {.solver = request.solver,
                                          .steps = request.sample_steps,
                                          .shift = request.sample_shift,
                                          .boundary = request.boundary,
                                          .guide_scale = request.guide_scale,
                                          .bf16_terms = true}};
  if (parity.has("clip.features")) {
    at::Tensor mask = at::zeros({4, noise.size(1), noise.size(2), noise.size(3)});
    mask.select(1, 0).fill_(1);
    input.condition = at::cat({mask, parity.tensor("vae.encoded")}, 0);  // [20, frames, height, width]
    input.image_features = parity.tensor("clip.features");               // [tokens, image_dim]
  } else if (parity.has("vae.encoded")) {
    input.first_frame = parity.tensor("vae.encoded");  // [channels, 1, height, width]
  }
  stage.reserve();
  const double error = test::relative_error(stage.run(input, alone, {}), parity.final_latent());
  fmt::print("BF16 {}: {:.2e}, official {:.2e}\n", bf16_case.name, error, bf16_case.official);
  EXPECT_LT(error, 1.5 * bf16_case.official);
}

constexpr Bf16Case bf16_cases[] = {
    {"ti2v_image", 7.9e-3}, {"ti2v_text", 9.3e-3}, {"wan21_t2v", 1.15e-2}, {"wan21_i2v", 8.1e-3}};

INSTANTIATE_TEST_SUITE_P(Reference, FamilyInBf16,
                         testing::Combine(testing::ValuesIn(bf16_cases),
                                          testing::Values("math", "reference")),
                         [](const auto& instance) {
                           return std::string(std::get<0>(instance.param).name) + "_" +
                                  std::get<1>(instance.param);
                         });

}  // namespace
}  // namespace wan
