#include <ATen/ATen.h>
#include <fmt/format.h>

#include "comm/local.h"
#include "engine/denoiser.h"
#include "gpu/device.h"
#include "gpu/engine/full_size_model.h"
#include "gpu/gpu_test.h"

namespace wan::engine {
namespace {

class FullSizeBlock : public kernels::GpuTest {
 protected:
  /// The denoised latent after one step at 17 x 30 x 52 tokens.
  static at::Tensor run(at::ScalarType type) {
    parallel::GroupCommunicators group = parallel::make_group_communicators(
        {}, {}, 0, [](const std::vector<int>& /*members*/, parallel::Role role) {
          return comm::make_local(to_string(role));
        });
    const ExpertModel model = test::full_width_expert(/*blocks=*/1);
    Denoiser stage({model}, {.compute = {.device = at::Device(at::kCUDA, 0), .type = type}}, group);
    const DenoiseInput input{
        .start = {.steps_done = 0, .latent = test::drawn({16, 17, 60, 104}, 1), .history = {}},
        .condition = {},
        .context = test::drawn({60, 4096}, 2),
        .negative_context = test::drawn({90, 4096}, 3),
        .settings = {.solver = Solver::euler,
                     .steps = 1,
                     .shift = 5,
                     .boundary = 0.9,
                     .guide_scale = {3.5, 3.5},
                     .bf16_terms = type == at::kBFloat16}};
    at::Tensor prediction;
    stage.run(input, group,
              [&](const sample::StepRequest& /*step*/, const sample::Prediction& made,
                  const at::Tensor& /*x*/, const StepTimes& /*times*/) { prediction = made.conditional; });
    return prediction;
  }
};

TEST_F(FullSizeBlock, ExactIsAsFarFromFp32AsBf16RoundingsAre) {
  gpu::forbid_tf32_products();
  const at::Tensor strict = run(at::kFloat);
  const at::Tensor rounded = run(at::kBFloat16);
  const double error = kernels::relative_error(rounded, strict);
  RecordProperty("relative_error", std::to_string(error));
  fmt::print("FULL-SIZE BLOCK 26,520 tokens, exact against fp32: {:.2e}\n", error);
  EXPECT_LT(error, 1e-2);
  EXPECT_GT(error, 1e-5);  // otherwise one of the two did not run in its own type
}

}  // namespace
}  // namespace wan::engine
