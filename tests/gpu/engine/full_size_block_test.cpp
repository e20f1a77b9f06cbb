#include <ATen/ATen.h>
#include <fmt/format.h>

#include <functional>

#include "comm/local.h"
#include "engine/denoise_stage.h"
#include "gpu/device.h"
#include "gpu/gpu_test.h"

namespace wan::engine {
namespace {

/// The 14B model's sizes, with one block.
checkpoint::TransformerConfig one_block() {
  return {.model_type = "t2v",
          .dim = 5120,
          .ffn_dim = 13824,
          .freq_dim = 256,
          .in_dim = 16,
          .out_dim = 16,
          .text_dim = 4096,
          .text_len = 512,
          .num_heads = 40,
          .num_layers = 1,
          .eps = 1e-6};
}

/// The same values whenever and in whatever type they are asked for: drawn from a seed out of the name, and
/// representable in bf16, so that both precisions have the same weights.
void read_seeded(const checkpoint::Parameter& parameter, std::int64_t first, const at::Tensor& out) {
  const std::int64_t inputs = parameter.shape.size() < 2 ? 2500 : parameter.elements() / parameter.shape[0];
  const bool is_norm = parameter.name.find("norm") != std::string::npos && parameter.name.ends_with("weight");
  const at::Tensor all =
      at::randn({parameter.elements()}, gpu::make_generator(0, std::hash<std::string>()(parameter.name)),
                at::TensorOptions(at::kCUDA).dtype(at::kFloat)) /
          std::sqrt(static_cast<double>(inputs)) +
      (is_norm ? 1.0 : 0.0);
  out.copy_(all.narrow(0, first, out.numel()).to(at::kBFloat16));
}

class FullSizeBlock : public kernels::GpuTest {
 protected:
  /// The denoised latent after one step at 17 x 30 x 52 tokens.
  static at::Tensor run(at::ScalarType type) {
    parallel::GroupCommunicators group = parallel::make_group_communicators(
        {}, {}, 0,
        [](const std::vector<int>& /*members*/, const std::string& name) { return comm::make_local(name); });
    const ExpertModel model{.config = one_block(), .read = read_seeded};
    DenoiseStage stage(model, model, {.compute = {.device = at::Device(at::kCUDA, 0), .type = type}}, group);
    const auto drawn = [](at::IntArrayRef shape, std::uint64_t seed) {
      return at::randn(shape, gpu::make_generator(0, seed), at::TensorOptions(at::kCUDA).dtype(at::kFloat));
    };
    const DenoiseInput input{.start = {.steps_done = 0, .latent = drawn({16, 17, 60, 104}, 1), .history = {}},
                             .condition = {},
                             .context = drawn({60, 4096}, 2),
                             .negative_context = drawn({90, 4096}, 3),
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
  gpu::allow_tf32_convolutions(false);
  const at::Tensor strict = run(at::kFloat);
  const at::Tensor rounded = run(at::kBFloat16);
  const double error = kernels::relative_error(rounded, strict);
  RecordProperty("relative_error", std::to_string(error));
  fmt::print("FULL-SIZE BLOCK 26,520 tokens, exact against fp32: {:.2e}\n", error);
  EXPECT_LT(error, 1e-2);
  EXPECT_GT(error, 1e-5);  // if not, one of the two did not run in its own type
}

}  // namespace
}  // namespace wan::engine
