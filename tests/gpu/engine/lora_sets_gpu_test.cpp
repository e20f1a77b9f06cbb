// Requests with different LoRAs in one engine on GPUs: every request has the bits of an engine that has its
// set alone.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "gpu/engine/shared_gpu_ranks.h"
#include "mpi/lora_set_files.h"

namespace wan {
namespace {

using Shared = test::SharedGpuTest<launch::Precision>;

class GpuLoraSets : public Shared {
 protected:
  void SetUp() override {
    Shared::SetUp();
    if (IsSkipped()) return;
    toy_.parity.request.frame_num = 5;
    if (test::shapes_of(ranks().size(), toy_.heads).empty()) GTEST_SKIP() << "no layout";
  }

  static test::GpuRanks& ranks() { return test::shared_gpu_ranks().ranks(); }

  /// Requests for sets of LoRAs, one after the other, with one engine.
  std::vector<test::Made> make(const comm::GridShape& shape, const parallel::NetworkPlacement& transformers,
                               const engine::LoraOptions& loras, const std::vector<int>& wanted) {
    const launch::RunDevice& device = test::shared_gpu_ranks().device(GetParam());
    const Stopwatch clock;
    engine::WanEngine engine(toy_.folder,
                             {.placement = {.transformers = transformers, .text_encoder = {}},
                              .compute = device.compute,
                              .gpu = device.gpu,
                              .loras = loras},
                             test::shared_gpu_ranks().communicators(shape, toy_.heads), clock);
    std::vector<test::Made> made;
    for (const int set : wanted) made.push_back(test::make(engine, test::with_set(toy_.request(), set)));
    return made;
  }

  test::Toy toy_{"i2v_landscape", 4};
};

TEST_P(GpuLoraSets, HaveTheBitsOfARunOfTheirOwn) {
  const test::LoraSetFiles sets(ranks(), toy_);
  const std::vector<parallel::NetworkPlacement> placements{
      {},
      {parallel::Division::sharded},
      {parallel::Division::whole, parallel::Residence::waits_on_host},
      {parallel::Division::sharded, parallel::Residence::takes_turns}};
  for (const comm::GridShape& shape : test::shapes_of(ranks().size(), toy_.heads)) {
    std::vector<test::Made> alone;
    for (const lora::LoraSet& set : sets.sets)
      alone.push_back(make(shape, placements.front(), {.sets = {set}}, {0}).front());
    if (ranks().rank() == 0) {
      EXPECT_FALSE(at::equal(alone[0].latent, alone[1].latent));
      EXPECT_FALSE(at::equal(alone[1].latent, alone[2].latent));
    }
    for (std::size_t i = 0; i < placements.size(); ++i) {
      SCOPED_TRACE(testing::Message() << parallel::describe(shape) << ", placement " << i);
      const std::vector<int> wanted{2, 1, 0, 2};
      const std::vector<test::Made> made = make(shape, placements[i], sets.options(), wanted);
      for (std::size_t row = 0; row < wanted.size() && ranks().rank() == 0; ++row) {
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
