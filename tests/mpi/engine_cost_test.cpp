#include <gtest/gtest.h>

#include "mpi/engine_fixture.h"
#include "parallel/plan.h"
#include "support/allocation_counter.h"

namespace wan {
namespace {

using test::Backend;

/// A toy checkpoint, by default one whose heads divide over the ranks, and a request whose sequence is larger
/// than the weights.
struct Toy {
  explicit Toy(int ranks) : Toy(ranks == 3 ? "i2v_portrait_ragged" : "i2v_landscape") {}
  explicit Toy(const char* name) : parity(test::load_parity_case(name)) {}

  test::ParityCase parity;
  checkpoint::CheckpointFolder folder = checkpoint::inspect_checkpoint(parity.folder / "ckpt");
  engine::ExpertFiles high_noise = engine::open_expert(folder.experts.front().path);
  engine::ExpertFiles low_noise = engine::open_expert(folder.experts.back().path);
  std::int64_t heads = high_noise.config.num_heads;
  std::vector<engine::ExpertModel> experts() const {
    return {engine::expert_model(Expert::high_noise, high_noise),
            engine::expert_model(Expert::low_noise, low_noise)};
  }

  /// A latent of 4096 tokens, both predictions at every step.
  engine::DenoiseInput input() const {
    return {.start = {.steps_done = 0, .latent = at::randn({16, 4, 64, 64}), .history = {}},
            .condition = at::randn({20, 4, 64, 64}),
            .context = parity.tensor("text.context"),
            .negative_context = parity.tensor("text.negative_context"),
            .settings = {
                .solver = Solver::euler, .steps = 2, .shift = 5, .boundary = 0.9, .guide_scale = {3, 3}}};
  }
  kernels::TokenGrid grid() const { return {.frames = 4, .rows = 32, .columns = 32}; }
};

class Traffic : public testing::TestWithParam<const char*> {};

TEST_P(Traffic, IsThatOfThePlanForEveryLayout) {
  test::RankWorld ranks;
  const Toy model(GetParam());
  for (const comm::GridShape& shape : test::shapes_of(ranks.size(), model.heads)) {
    for (const bool sharded : {false, true}) {
      SCOPED_TRACE(parallel::describe(shape) + (sharded ? " sharded" : ""));
      const parallel::WeightPlacement placement{
          .transformers = {.division = sharded ? parallel::Division::sharded : parallel::Division::whole},
          .text_encoder = {}};
      parallel::GroupCommunicators group = ranks.communicators(shape, Backend::mpi, model.heads);
      engine::Denoiser stage(model.experts(), {.placement = placement.transformers}, group);
      stage.run(model.input(), group, nullptr);
      const parallel::PlanInput input{.transformer = model.high_noise.config,
                                      .text_encoder = {},
                                      .vae_parameters = 0,
                                      .grid = shape,
                                      .tokens = model.grid(),
                                      .guided = true,
                                      .placement = parallel::for_group(placement, ranks.size()),
                                      .element_bytes = 4};
      const parallel::Plan plan = parallel::make_plan(input);
      const std::int64_t final_gather = (shape.ulysses - 1) * plan.local_tokens * 64 * 4;
      EXPECT_EQ(static_cast<std::int64_t>(group.sent_bytes()), 2 * plan.wire_bytes_per_step + final_gather);
      EXPECT_EQ(group.guided.ulysses->traffic().total_sent_bytes() > 0, shape.ulysses > 1);
      EXPECT_EQ(group.guided.cfg->traffic().total_sent_bytes() > 0, shape.cfg > 1);
      EXPECT_EQ(group.fsdp->traffic().total_sent_bytes() > 0, sharded && ranks.size() > 1);
    }
  }
}

// 4 heads, over 3 ranks 2 + 1 + 1; and 3 heads, over 2 ranks 2 + 1.
INSTANTIATE_TEST_SUITE_P(Heads, Traffic, testing::Values("i2v_landscape", "i2v_portrait_ragged"));

TEST(Allocations, NoRankHoldsTheWholeSequence) {
  test::RankWorld ranks;
  const Toy model(ranks.size());
  const engine::DenoiseInput input = model.input();
  const auto largest_in_run = [&](parallel::GroupCommunicators group) {
    engine::Denoiser stage(model.experts(), {}, group);
    const test::AllocationCounter counter;
    stage.run(input, group, nullptr);
    return std::pair(counter.largest_bytes(), counter.peak_bytes());
  };
  const auto [alone_largest, alone_peak] = largest_in_run(test::lone_communicators());
  const std::int64_t hidden_bytes = model.grid().tokens() * model.high_noise.config.dim * 4;
  ASSERT_GE(alone_largest, 3 * hidden_bytes);  // q, k and v of all tokens: the counter sees the sequence
  const comm::GridShape shape{.group_size = ranks.size(), .cfg = 1, .ulysses = ranks.size()};
  const auto [largest, peak] = largest_in_run(ranks.communicators(shape, Backend::mpi, model.heads));
  // The input latent and its patches are complete on every rank (36 channels of 4 values per token).
  const std::int64_t input_bytes = model.grid().tokens() * 36 * 4 * 4;
  EXPECT_LE(largest, std::max(alone_largest / ranks.size(), input_bytes) * 11 / 10);
  EXPECT_LE(peak, alone_peak / ranks.size() + 4 * input_bytes);
}

TEST(Allocations, NoRankHoldsAWholeExpertWhenWeightsAreSharded) {
  test::RankWorld ranks;
  const Toy model(ranks.size());
  std::int64_t expert_bytes = 0;
  std::int64_t largest_unit_bytes = 0;
  for (const checkpoint::UnitLayout& unit : checkpoint::transformer_units(model.high_noise.config)) {
    expert_bytes += unit.elements() * 4;
    largest_unit_bytes = std::max(largest_unit_bytes, unit.elements() * 4);
  }
  const comm::GridShape shape = test::shapes_of(ranks.size(), ranks.size()).front();
  parallel::GroupCommunicators group = ranks.communicators(shape, Backend::mpi, ranks.size());
  const std::uint64_t read_before = model.high_noise.weights.bytes_read();
  const test::AllocationCounter counter;
  const engine::Denoiser stage(model.experts(), {.placement = {.division = parallel::Division::sharded}},
                               group);
  const auto read = static_cast<std::int64_t>(model.high_noise.weights.bytes_read() - read_before);
  const std::int64_t padding = std::int64_t{64} * 4 * ranks.size();
  // The shards of two experts, and two buffers of the largest unit, which both experts share.
  EXPECT_LE(counter.alive_bytes(), 2 * expert_bytes / ranks.size() + 2 * largest_unit_bytes + 64 * padding);
  EXPECT_LE(counter.largest_bytes(), largest_unit_bytes + padding);
  EXPECT_LE(read, expert_bytes / ranks.size() + 64 * padding) << "reads more of the file than it keeps";
}

TEST(Allocations, NoRankHoldsTheWholeVideo) {
  test::RankWorld ranks;
  const Toy model(ranks.size());
  const auto vae_files = checkpoint::Checkpoint::open_torch_archive(model.folder.vae);
  const at::Tensor latent = at::randn({16, 2, 24, 16});
  const auto largest_in_run = [&](comm::Communicator& group) {
    engine::Autoencoder stage(engine::vae_model(vae_files), at::kCPU);
    const test::AllocationCounter counter;
    std::int64_t frames = 0;
    stage.decode(latent, group, 0, [&](const at::Tensor& chunk) { frames += chunk.size(0); });
    if (group.rank() == 0) {
      EXPECT_EQ(frames, 5);
    }
    stage.encode_image(at::zeros({3, 192, 128}), 5, group);
    return counter.largest_bytes();
  };
  const auto alone = comm::make_local("vae");
  const std::int64_t alone_largest = largest_in_run(*alone);
  const comm::GridShape shape = test::shapes_of(ranks.size(), ranks.size()).front();
  const parallel::GroupCommunicators group = ranks.communicators(shape, Backend::deferred, ranks.size());
  EXPECT_LE(largest_in_run(*group.vae), alone_largest / ranks.size() * 5 / 4);  // own rows and their halos
}

}  // namespace
}  // namespace wan
