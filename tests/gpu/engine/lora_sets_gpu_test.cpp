// Requests with different LoRAs in one engine on GPUs: every request has the bits of an engine that has its
// set alone.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "gpu/engine/gpu_ranks.h"
#include "mpi/lora_set_files.h"

namespace wan {
namespace {

using test::GpuRanks;

class GpuLoraSets : public testing::TestWithParam<launch::Precision> {
 protected:
  void SetUp() override {
    if (!GpuRanks::enough()) GTEST_SKIP() << "this test needs a GPU per rank";
    ranks_ = std::make_unique<GpuRanks>();
    toy_.parity.request.frame_num = 5;
    if (test::shapes_of(ranks_->size(), toy_.heads).empty()) GTEST_SKIP() << "no layout";
  }

  /// Requests for sets of LoRAs, one after the other, with one engine.
  std::vector<test::Made> make(const comm::GridShape& shape, const parallel::NetworkPlacement& transformers,
                               const engine::LoraOptions& loras, const std::vector<int>& wanted) {
    const launch::RunDevice device = ranks_->device(GetParam());
    const auto communicators = ranks_->communicators(device);
    const launch::RunLayout layout{.guided = shape,
                                   .unguided = parallel::unguided_shape(shape, {}, toy_.heads)};
    const Stopwatch clock;
    engine::WanEngine engine(toy_.folder,
                             {.placement = {.transformers = transformers, .text_encoder = {}},
                              .compute = device.compute,
                              .gpu = device.gpu,
                              .loras = loras},
                             communicators->make_group(layout, 60), clock);
    std::vector<test::Made> made;
    for (const int set : wanted) made.push_back(test::make(engine, test::with_set(toy_.request(), set)));
    return made;
  }

  std::unique_ptr<GpuRanks> ranks_;
  test::Toy toy_{"i2v_landscape", 4};
};

TEST_P(GpuLoraSets, HaveTheBitsOfARunOfTheirOwn) {
  const test::LoraSetFiles sets(*ranks_, toy_);
  const std::vector<parallel::NetworkPlacement> placements{
      {},
      {parallel::Division::sharded},
      {parallel::Division::whole, parallel::Residence::waits_on_host},
      {parallel::Division::sharded, parallel::Residence::takes_turns}};
  for (const comm::GridShape& shape : test::shapes_of(ranks_->size(), toy_.heads)) {
    std::vector<test::Made> alone;
    for (const lora::LoraSet& set : sets.sets)
      alone.push_back(make(shape, placements.front(), {.sets = {set}}, {0}).front());
    if (ranks_->rank() == 0) {
      EXPECT_FALSE(at::equal(alone[0].latent, alone[1].latent));
      EXPECT_FALSE(at::equal(alone[1].latent, alone[2].latent));
    }
    for (std::size_t i = 0; i < placements.size(); ++i) {
      SCOPED_TRACE(testing::Message() << parallel::describe(shape) << ", placement " << i);
      const std::vector<int> wanted{2, 1, 0, 2};
      const std::vector<test::Made> made = make(shape, placements[i], sets.options(), wanted);
      for (std::size_t row = 0; row < wanted.size() && ranks_->rank() == 0; ++row) {
        const test::Made& expected = alone[static_cast<std::size_t>(wanted[row])];
        EXPECT_TRUE(at::equal(made[row].latent, expected.latent)) << "row " << row;
        EXPECT_TRUE(at::equal(made[row].frames, expected.frames)) << "row " << row;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, GpuLoraSets,
                         testing::Values(launch::Precision::bf16, launch::Precision::fp32),
                         [](const auto& instance) {
                           return instance.param == launch::Precision::bf16 ? "bf16" : "fp32";
                         });

}  // namespace
}  // namespace wan
