// Two blocks of the real width with the sequence split over GPUs, in chunks of heads and with padding,
// compared with the same on one GPU.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "engine/denoiser.h"
#include "gpu/engine/full_size_model.h"
#include "gpu/engine/gpu_ranks.h"
#include "gpu/gpu_test.h"

namespace wan {
namespace {

using test::GpuRanks;

constexpr std::int64_t blocks = 2;

class UlyssesGpu : public kernels::GpuTest {
 protected:
  void SetUp() override {
    if (!GpuRanks::enough()) GTEST_SKIP() << "this test needs a GPU per rank";
    kernels::GpuTest::SetUp();  // unwritten memory holds NaN, so that a read of padding shows
  }

  /// 17 x 29 x 53 tokens, an odd number: neither 2 nor 4 GPUs divide it.
  static engine::DenoiseInput input(int gpu) {
    return {.start = {.steps_done = 0, .latent = test::drawn({16, 17, 58, 106}, 1, gpu), .history = {}},
            .condition = {},
            .context = test::drawn({60, 4096}, 2, gpu),
            .negative_context = test::drawn({90, 4096}, 3, gpu),
            .settings = {.solver = Solver::euler,
                         .steps = 1,
                         .shift = 5,
                         .boundary = 0.9,
                         .guide_scale = {3.5, 3.5},
                         .bf16_terms = true}};
  }

  static engine::DenoiseOptions options(const launch::RunDevice& device,
                                        kernels::AttentionBackend attention) {
    return {.compute = device.compute, .attention = attention};
  }

  /// The denoised latent [16, 17, 58, 106], on this GPU alone.
  static at::Tensor alone(const launch::RunDevice& device, kernels::AttentionBackend attention) {
    parallel::GroupCommunicators group = test::lone_communicators();
    const engine::ExpertModel model = test::full_width_expert(blocks, device.gpu.index);
    engine::Denoiser stage({model}, options(device, attention), group);
    stage.reserve();
    return stage.run(input(device.gpu.index), group, nullptr);
  }

  /// The same by all ranks.
  static at::Tensor together(GpuRanks& ranks, const launch::RunDevice& device, engine::DenoiseOptions options,
                             const std::vector<std::int64_t>& chunk_heads) {
    const auto communicators = ranks.communicators(device);
    const comm::GridShape shape{.group_size = ranks.size(), .cfg = 1, .ulysses = ranks.size()};
    const launch::RunLayout layout{.guided = shape, .unguided = shape};
    parallel::GroupCommunicators group = communicators->make_group(layout, 60);
    options.head_chunks.sizes = chunk_heads;
    const engine::ExpertModel model = test::full_width_expert(blocks, device.gpu.index);
    engine::Denoiser stage({model}, options, group);
    stage.reserve();
    return stage.run(input(device.gpu.index), group, nullptr);
  }
};

TEST_F(UlyssesGpu, ChunksAndPaddingGiveTheNumbersOfOneGpu) {
  GpuRanks ranks;
  if (ranks.size() == 1) GTEST_SKIP() << "a rank alone splits nothing";
  const launch::RunDevice device = ranks.device(launch::Precision::bf16);
  const std::int64_t own_heads = 40 / ranks.size();
  for (const kernels::AttentionBackend attention :
       {kernels::parse_attention_backend("flashinfer"), kernels::parse_attention_backend("cudnn")}) {
    const auto available = kernels::available_attention_backends(device.compute.device, at::kBFloat16, 128);
    if (std::ranges::find(available, attention) == available.end()) {
      fmt::print("ULYSSES {} is not in this build\n", kernels::to_string(attention));
      continue;
    }
    const at::Tensor expected = alone(device, attention);
    at::Tensor in_one;
    for (const std::vector<std::int64_t>& chunk_heads :
         {std::vector{own_heads}, std::vector<std::int64_t>{1, own_heads - 2, 1},
          std::vector<std::int64_t>{3, own_heads - 3}}) {
      for (const bool sharded : {false, true}) {
        engine::DenoiseOptions how = options(device, attention);
        if (sharded) how.placement.division = parallel::Division::sharded;
        const at::Tensor made = together(ranks, device, how, chunk_heads);
        const double error = kernels::relative_error(made, expected);
        if (ranks.rank() == 0) {
          fmt::print("ULYSSES {} GPUs, {}, {} chunks{}: {:.2e} from one GPU\n", ranks.size(),
                     kernels::to_string(attention), chunk_heads.size(), sharded ? ", sharded" : "", error);
        }
        EXPECT_LT(error, 5e-3);
        if (!in_one.defined()) in_one = made;
        EXPECT_TRUE(at::equal(made, in_one))
            << "how the heads travel and where weights lie must not change a bit";
      }
    }
  }
}

}  // namespace
}  // namespace wan
