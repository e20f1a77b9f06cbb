#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "comm/local.h"
#include "parallel/arena_weights.h"
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

/// Two models of the same units in one arena, and what the units hold.
class SharedArena : public testing::Test {
 protected:
  std::shared_ptr<WeightShards> model(double base) const {
    return std::make_shared<WeightShards>(two_units(), counting(base), 1, 0, kernels::Compute(), arena_);
  }
  std::unique_ptr<ArenaWeights> weights_of(const std::shared_ptr<WeightShards>& shards) {
    return std::make_unique<ArenaWeights>(std::make_unique<ResidentWeights>(shards), shards, clock_);
  }
  /// The first value of each unit, less the one that counting(0) gives it.
  std::array<double, 2> bases() const {
    return {arena_->slices()[0][0].item<double>(), arena_->slices()[1][0].item<double>() - 200};
  }
  using Bases = std::array<double, 2>;

  PartClock clock_;
  std::shared_ptr<WeightArena> arena_ = std::make_shared<WeightArena>(two_units(), 1, kernels::Compute());
  std::shared_ptr<WeightShards> first_ = model(1000);
  std::shared_ptr<WeightShards> second_ = model(5000);
};

TEST_F(SharedArena, AUnitMakesRoomAfterItsLastUse) {
  const auto weights = weights_of(first_);
  for (const bool is_last : {false, true}) {
    weights->begin_forward(is_last ? second_ : nullptr);
    EXPECT_EQ(bases(), (Bases{1000, 1000}));
    weights->begin(0);
    weights->begin(1);  // both are asked for before the first is done with
    EXPECT_EQ(weights->weights(0)[0][0][0].item<double>(), 1000);
    weights->end(0);
    EXPECT_EQ(bases(), (Bases{is_last ? 5000.0 : 1000.0, 1000}));
    EXPECT_EQ(weights->weights(1)[0][0][0].item<double>(), 1200);
    weights->end(1);
    EXPECT_EQ(bases(), is_last ? (Bases{5000, 5000}) : (Bases{1000, 1000}));
  }
  EXPECT_GT(clock_.part_s()[static_cast<std::size_t>(Part::host_copy)], 0);
}

TEST_F(SharedArena, OnlyUnitsThatAreMissingComeIn) {
  const auto first = weights_of(first_);
  first->begin_forward(second_);
  first->begin(0);
  first->end(0);  // the forward breaks off here
  first->settle();
  arena_->slices()[0].fill_(7);
  const auto second = weights_of(second_);
  second->begin_forward(nullptr);
  EXPECT_EQ(bases(), (Bases{7, 5000})) << "the first unit was there already";
}

TEST_F(SharedArena, NothingMakesRoomAfterAForwardThatThrew) {
  const auto weights = weights_of(first_);
  weights->begin_forward(second_);
  weights->begin(0);
  weights->settle();
  weights->begin(1);  // collectives that are owed
  weights->end(1);
  EXPECT_EQ(bases(), (Bases{1000, 1000}));
  weights->begin_forward(nullptr);
  weights->begin(0);
  weights->end(0);
  EXPECT_EQ(bases(), (Bases{1000, 1000}));
}

TEST_F(SharedArena, ValuesThatChangedOnTheHostComeInAnew) {
  const auto weights = weights_of(first_);
  weights->begin_forward(nullptr);
  arena_->slices()[0].fill_(7);
  second_->forget();
  weights->begin_forward(nullptr);
  EXPECT_EQ(bases(), (Bases{7, 1000})) << "another model's changed";
  first_->forget();
  weights->begin_forward(nullptr);
  EXPECT_EQ(bases(), (Bases{1000, 1000}));
  arena_->slices()[0].fill_(7);
  first_.reset();  // its address may serve another model
  const auto third = model(3000);
  third->bring_in();
  EXPECT_EQ(bases(), (Bases{3000, 3000}));
}

TEST_F(SharedArena, ASliceIsThereBeforeItIsSent) {
  const auto alone = comm::make_local("fsdp");
  ArenaWeights weights(
      std::make_unique<ShardedWeights>(
          first_, *alone, std::make_shared<GatherBuffers>(two_units(), *alone, kernels::Compute())),
      first_, clock_);
  for (const auto& next : {std::shared_ptr<WeightShards>(), second_}) {
    weights.begin_forward(next);
    weights.begin(0);
    weights.begin(1);
    EXPECT_EQ(weights.weights(0)[0][0][0].item<double>(), 1000);
    weights.end(0);
    EXPECT_EQ(weights.weights(1)[0][0][0].item<double>(), 1200);
    weights.end(1);
  }
  EXPECT_EQ(bases(), (Bases{5000, 5000}));
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
