#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "comm/local.h"
#include "parallel/exchange_memory.h"
#include "parallel/unit_weights.h"
#include "wan/error.h"

namespace wan::parallel {
namespace {

/// Two units of three parameters; their sizes divide by no part count.
std::vector<checkpoint::UnitLayout> two_units() {
  return {{"a", {{"a.weight", {3, 5}, 0}, {"a.bias", {7}, 15}}}, {"b", {{"b.weight", {2, 2}, 0}}}};
}

/// Element i of parameter `name` is base + i.
ParameterReader counting(double base) {
  return [base](const checkpoint::Parameter& parameter, std::int64_t first, const at::Tensor& out) {
    const double start = base + (parameter.name == "a.bias" ? 100 : parameter.name == "b.weight" ? 200 : 0);
    out.copy_(at::arange(first, first + out.numel(), at::kDouble) + start);
  };
}

TEST(WeightShards, KeepTheirSliceOfEveryUnitAndZerosBeyondItsEnd) {
  constexpr int parts = 4;
  for (int part = 0; part < parts; ++part) {
    const WeightShards shards(two_units(), counting(1000), parts, part, {});
    const at::Tensor& slice = shards.slice(0);  // 22 elements over 4 parts: 6 each
    ASSERT_EQ(slice.numel(), 6);
    for (std::int64_t i = 0; i < 6; ++i) {
      const std::int64_t at = 6 * part + i;
      const double expected = at < 15   ? 1000.0 + static_cast<double>(at)
                              : at < 22 ? 1100.0 + static_cast<double>(at - 15)
                                        : 0.0;
      EXPECT_EQ(slice[i].item<double>(), expected) << "part " << part << ", element " << i;
    }
    EXPECT_EQ(shards.bytes(), (6 + 1) * 4);
  }
}

TEST(WeightShards, ModelsTakeTurnsInAnArena) {
  const auto arena = std::make_shared<WeightArena>(two_units(), 1, kernels::Compute());
  const auto first =
      std::make_shared<WeightShards>(two_units(), counting(0), 1, 0, kernels::Compute(), arena);
  const auto second =
      std::make_shared<WeightShards>(two_units(), counting(5000), 1, 0, kernels::Compute(), arena);
  ResidentWeights first_weights(first);
  ResidentWeights second_weights(second);
  for (int turn = 0; turn < 2; ++turn) {
    first->bring_in();
    EXPECT_EQ(first_weights.weights(1)[0][1][1].item<double>(), 203);
    second->bring_in();
    EXPECT_EQ(second_weights.weights(1)[0][1][1].item<double>(), 5203);
    EXPECT_EQ(first_weights.weights(1)[0].data_ptr(), second_weights.weights(1)[0].data_ptr());
  }
}

TEST(WeightShards, AnArenaThatWasGivenBackIsFilledAnew) {
  const auto arena = std::make_shared<WeightArena>(two_units(), 1, kernels::Compute());
  const auto shards =
      std::make_shared<WeightShards>(two_units(), counting(0), 1, 0, kernels::Compute(), arena);
  ResidentWeights weights(shards);
  for (int turn = 0; turn < 3; ++turn) {
    shards->bring_in();
    EXPECT_EQ(weights.weights(1)[0][1][1].item<double>(), 203);
    weights.weights(1)[0].zero_();  // the next turn must not find it
    EXPECT_EQ(arena->slices()[1].use_count(), 1U) << "the arena's own";
    EXPECT_GT(arena->slices()[1].storage().use_count(), 2U) << "views hold the memory during the turn";
    weights.end(1);
    EXPECT_EQ(arena->slices()[1].storage().use_count(), 2U) << "after it, only the arena does";
    shards->release();
    EXPECT_TRUE(arena->slices().empty());
  }
  shards->bring_in();
  static_cast<void>(weights.weights(0));  // its turn is not ended, as after an exception
  shards->release();
  shards->bring_in();
  weights.weights(0)[0].zero_();
  EXPECT_EQ(arena->slices()[0][0].item<double>(), 0) << "views of memory that was given back";
}

TEST(ShardedWeights, OfOnePartAreTheWhole) {
  const auto alone = comm::make_local("fsdp");
  const auto shards = std::make_shared<WeightShards>(two_units(), counting(0), 1, 0, kernels::Compute());
  ShardedWeights weights(shards, *alone,
                         std::make_shared<GatherBuffers>(two_units(), *alone, kernels::Compute()));
  weights.begin(0);
  weights.begin(1);
  EXPECT_TRUE(at::equal(weights.weights(0)[1], at::arange(100, 107, at::kFloat)));
  EXPECT_THROW(weights.begin(1), Error) << "both buffers are taken";
  weights.end(0);
  EXPECT_EQ(weights.weights(1)[0][0][0].item<double>(), 200);
  EXPECT_THROW(weights.weights(0), Error) << "it was given back";
}

TEST(ExchangeMemory, TensorsDoNotOverlapAndStartAsZeros) {
  const auto alone = comm::make_local("ulysses");
  ExchangeMemory memory(*alone, {6, 10}, kernels::Compute());
  const at::Tensor first = memory.take({2, 3});
  const at::Tensor second = memory.take({10});
  EXPECT_EQ(first.abs().sum().item<double>() + second.abs().sum().item<double>(), 0);
  first.fill_(1);
  EXPECT_EQ(second.abs().sum().item<double>(), 0);
  EXPECT_FALSE(memory.is_special());
  EXPECT_THROW(memory.take({300}), Error) << "more than was reserved";
}

}  // namespace
}  // namespace wan::parallel
